"""Published tables of fine-tuning accuracies, replayed: how well facts about a source alone rank it.

    PYTHONPATH=src python benchmarks/published_tables.py --data FOLDER

FOLDER holds ``finetune_accuracy.csv`` and ``published_scores.csv``. For each table (one data set of one
benchmark) models are ranked by

- the prior, fitted without any model of the ranked one's family in whatever table; which facts it reads is
  chosen anew each time, by leaving out the remaining families one by one;
- the prior, fitted without any table of the data set, with the facts that the shipped one reads;
- the same and each model's history: the mean residual of its normal scores on the benchmark's other data
  sets, shrunk by n/(n + 1) (a random effect of the model); and its mean rank on them alone;
- ImageNet accuracy alone (where it is not known, the mean of those models of which it is);
- the scores that were published.

Figures are means over data sets, with 95% t-intervals over them, of
``scipy.stats.weightedtau(score, accuracy)``, as SFDA reports it, and of the regret of the model ranked first,
in points (ties: the mean of those in front).
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from common import parser, print_table, write_results

sys.path.insert(0, str(Path(__file__).resolve().parent / "prior"))

from fit import BLOCKS, PENALTY, chosen_form
from leaving_out import by_dataset, by_family, centred_scores
from tables import read, rows_of

from regraft.choosing.agreement import top_regret, weighted_tau
from regraft.choosing.prior.fitting import Table, fit, normal_scores, percentiles
from regraft.choosing.prior.model import Prior

REPORTED = (
    "sfda_sup11",
    "sfda_ssl12",
    "logme_tllib10",
    "stable19_frozen",
    "stable19_finetune",
    "parc_controlled",
    "parc_all",
    "medmnist_source",
    "medmnist_arch",
    "transfergraph_vtab1k",
)
SCORES_OF = {"stable19_frozen": ("stable19",), "stable19_finetune": ("stable19",)}
Ranking = list[np.ndarray | None]


def main() -> None:
    given = parser(__doc__, "published_tables")
    given.add_argument("--data", type=Path, required=True, help="folder of the published tables")
    arguments = given.parse_args()
    tables = read(arguments.data)
    figures = summarised(tables, {**rankings(tables), **published(tables, arguments.data)})
    write_results(arguments.json, {"tables": figures})
    print_table(["benchmark", "ranked by", "data sets", "weighted tau", "regret"], lines(figures))


def rankings(tables: Sequence[Table]) -> dict[str, Ranking]:
    """Scores of all models of all tables by every way to rank that the tables themselves give."""
    fixed = partial(fit, blocks=BLOCKS, penalty=PENALTY)
    family = [one[:, 0] for one in by_family(tables, chosen_fit, centred_scores)]
    dataset = [one[:, 0] for one in by_dataset(tables, fixed, centred_scores)]
    return {
        "prior, family left out": list(family),
        "prior, data set left out": list(dataset),
        "prior and history, data set left out": with_history(tables, dataset),
        "mean rank on other data sets": history(tables),
        "ImageNet accuracy": [imagenet(table) for table in tables],
    }


def chosen_fit(tables: Sequence[Table]) -> Prior:
    """A prior whose form is chosen with these tables alone."""
    blocks, penalty = chosen_form(tables)
    print(f"chose {', '.join(blocks)}", file=sys.stderr, flush=True)
    return fit(tables, blocks=blocks, penalty=penalty)


def imagenet(table: Table) -> np.ndarray | None:
    top1 = np.array([np.nan if facts.top1 is None else facts.top1 for facts in table.facts])
    if len(set(top1[~np.isnan(top1)])) < 2:
        return None
    return np.where(np.isnan(top1), np.nanmean(top1), top1)


def history(tables: Sequence[Table]) -> Ranking:
    """Each model's mean percentile on the benchmark's other data sets; the middle for one that has none."""
    return [
        _elsewhere(tables, number, [percentiles(t.accuracies) - 0.5 for t in tables])[0]
        for number in range(len(tables))
    ]


def with_history(tables: Sequence[Table], scores: Sequence[np.ndarray]) -> Ranking:
    left = [normal_scores(table.accuracies) - score for table, score in zip(tables, scores, strict=True)]
    found: Ranking = []
    for number, score in enumerate(scores):
        mean, count = _elsewhere(tables, number, left)
        found.append(score + mean * count / (count + 1))
    return found


def _elsewhere(
    tables: Sequence[Table], number: int, values: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and number of each model's values in the other tables of its benchmark; 0 where there are none."""
    mine = tables[number]
    found = defaultdict(list)
    for other, own in zip(tables, values, strict=True):
        if other.benchmark == mine.benchmark and other.dataset != mine.dataset:
            for model, value in zip(other.models, own, strict=True):
                found[model].append(value)
    means = np.array([np.mean(found[model]) if found[model] else 0.0 for model in mine.models])
    return means, np.array([len(found[model]) for model in mine.models])


def published(tables: Sequence[Table], folder: Path) -> dict[str, Ranking]:
    """Scores as they were published, for the tables all of whose models have one."""
    held: dict[tuple[str, str, str], dict[str, float]] = defaultdict(dict)
    for row in rows_of(folder / "published_scores.csv"):
        held[row["metric"], row["source"], row["dataset"]][row["model"]] = float(row["score"])
    found: dict[str, Ranking] = {}
    for metric in sorted({metric for metric, _, _ in held} - {"imagenet_top1"}):
        ranking = [_published(table, metric, held) for table in tables]
        found[f"published {metric}"] = ranking
    return found


def _published(
    table: Table, metric: str, held: dict[tuple[str, str, str], dict[str, float]]
) -> np.ndarray | None:
    benchmark = table.benchmark
    sources = SCORES_OF.get(benchmark, (benchmark,))
    sources += ("model_spider10",) if benchmark == "logme_tllib10" else ()
    for source in sources:
        scores = held.get((metric, source, table.dataset), {})
        if all(model in scores for model in table.models):
            return np.array([scores[model] for model in table.models])
    return None


def summarised(tables: Sequence[Table], every: dict[str, Ranking]) -> dict[str, dict[str, dict[str, float]]]:
    found: dict[str, dict[str, dict[str, float]]] = {}
    for benchmark in REPORTED:
        found[benchmark] = {}
        for name, ranking in every.items():
            here = [
                (score, table.accuracies)
                for table, score in zip(tables, ranking, strict=True)
                if table.benchmark == benchmark and score is not None
            ]
            if here:
                found[benchmark][name] = {
                    "data sets": len(here),
                    **interval("tau", [weighted_tau(*pair) for pair in here]),
                    **interval("regret", [top_regret(*pair) for pair in here]),
                }
    return found


def interval(name: str, values: Sequence[float]) -> dict[str, float]:
    """Mean and half-width of the 95% t-interval over data sets."""
    from scipy.stats import t

    half = (
        t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
        if len(values) > 1
        else 0.0
    )
    return {name: round(float(np.mean(values)), 4), f"{name} +-": round(float(half), 4)}


def lines(figures: dict[str, dict[str, dict[str, float]]]) -> list[list[str]]:
    return [
        [
            benchmark,
            name,
            str(values["data sets"]),
            f"{values['tau']:.3f} +- {values['tau +-']:.3f}",
            f"{values['regret']:.2f} +- {values['regret +-']:.2f}",
        ]
        for benchmark, rows in figures.items()
        for name, values in rows.items()
    ]


if __name__ == "__main__":
    main()
