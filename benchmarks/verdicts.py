"""How often a verdict is wrong, and how often it finds what is there: experiments with a known truth.

    python benchmarks/verdicts.py            2,000 experiments in every cell, about 3 minutes of a free core
    python benchmarks/verdicts.py --quick    100 of each, only to show that it runs

What is simulated is the verdict that `regraft prove` gives: intervals of paired differences, the arm without
a source that is best on validation as reference, and what the others say against it (regraft.core.paired,
regraft.evidence.deciding; the simulation itself is simulated_experiments.py). In each cell four truths hold
in which HELPED and HARMED are both wrong:

  equal    the strategy and all arms without a source are equally good; delta is 0, so any difference counts
  +delta   it is better than all of them by exactly delta (half a point)
  -delta   it is worse than all of them by exactly delta
  apart    it is better than the best of them by delta, the others are 3 points worse: the wrong one may be
           chosen as reference

and one, `power`, in which it is better than the best of them by 5 points and HELPED is right. The aim is at
most 5% wrong verdicts in every cell. `rule` is what decides: `plain` is the chosen contrast's interval with
the difference of variances as it stands, as `prove` decided before this table was made; `now` is what it
does today.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from common import measure_and_show, parser, print_markdown, print_table, usual
from simulated_experiments import Latents, Setting, blocks, contrasts, levels_of, moments

from regraft.core.console import progress
from regraft.core.paired import Intervals, decisions
from regraft.core.randomness import numpy_generator
from regraft.evidence.deciding import choose, verdicts

SEEDS = (3, 4, 6, 8, 12)
ARMS = (1, 2, 3)
DELTA = 0.005
GAP = 0.03
EFFECT = 0.05
RULES = ("plain", "now")
TRUTHS = ("equal", "+delta", "-delta", "apart", "power")
GRID = [
    Setting(overlap=overlap, spread=spread, test=test, common=common)
    for overlap, spread, test, common in itertools.product(
        (0.1, 0.5, 0.85), (0.005, 0.02, 0.08), (100, 300), (0.0, 0.8)
    )
    if common == 0 or test == 100
]
CORNERS = [
    Setting(overlap=0.5, spread=0.02, started=0.5),
    Setting(overlap=0.85, spread=0.02, started=0.5),
    Setting(overlap=0.1, spread=0.005, test=100, accuracy=0.97),
    Setting(overlap=0.5, spread=0.02, test=100, accuracy=0.97),
    Setting(overlap=0.1, spread=0.05, test=1000),
    Setting(overlap=0.1, spread=0.08, test=400, drawn=320, validation=80),
]


Key = tuple[str, int, int, str]
"""Truth, seeds, arms without a source, rule."""


def accuracies(truth: str, setting: Setting) -> np.ndarray:
    """Of the strategy and each arm without a source, on the population."""
    shift = {"equal": 0.0, "+delta": DELTA, "-delta": -DELTA, "apart": DELTA, "power": EFFECT}[truth]
    others = np.full(setting.arms, setting.accuracy)
    if truth == "apart":
        others[1:] -= GAP
    top = 1 - 1e-3  # an arm that is never wrong has no latent level
    return np.minimum(top, np.concatenate([[setting.accuracy + shift], others]))


def judged(
    found: Intervals, validation: np.ndarray, delta: float, arms: int, *, plain: bool = False
) -> np.ndarray:
    """The verdict of each experiment over the first ``arms`` arms without a source."""
    few = Intervals(found.mean[:, :arms], found.error[:, :arms], found.degrees[:, :arms], found.level)
    chosen = choose(validation[:, 1 : arms + 1], higher_is_better=True)
    if plain:
        return np.take_along_axis(decisions(few, delta), chosen[:, None], axis=1)[:, 0]
    return verdicts(few, chosen, delta)[0]


def simulate(
    setting: Setting,
    experiments: int,
    *,
    seeds: tuple[int, ...] = SEEDS,
    truths: tuple[str, ...] = TRUTHS,
    rules: tuple[str, ...] = ("now",),
    seed: int = 0,
) -> dict[Key, Counter[str]]:
    """Verdicts counted by truth, number of seeds, number of arms without a source, and rule."""
    counted: dict[Key, Counter[str]] = {}
    random = numpy_generator(seed, "noise of resamples", repr(setting))
    for latents in blocks(setting, experiments, seeds=max(seeds), seed=seed):
        for truth in truths:
            for key, said in _one(latents, setting, truth, seeds, random, rules).items():
                counted.setdefault(key, Counter()).update(said.tolist())
    return counted


def _one(
    latents: Latents,
    setting: Setting,
    truth: str,
    seeds: tuple[int, ...],
    random: np.random.Generator,
    rules: tuple[str, ...],
) -> dict[Key, np.ndarray]:
    hits, validation = latents.hits(levels_of(accuracies(truth, setting)))
    delta = 0.0 if truth == "equal" else DELTA
    said = {}
    for count in seeds:
        found = moments(hits, latents.overlap, count, random)
        for rule in rules:
            plain = rule == "plain"
            shown = contrasts(found, plain=plain)
            for arms in ARMS[: setting.arms]:
                given = (shown, validation[:, :, :count], delta, arms)
                said[truth, count, arms, rule] = judged(*given, plain=plain)
    return said


def wrong(counts: Counter[str]) -> float:
    """The share of HELPED and HARMED."""
    return (counts["HELPED"] + counts["HARMED"]) / counts.total()


def allowed(experiments: int, share: float = 0.05) -> float:
    """What a true share of 5% gives in 999 simulations of 1,000, by chance (3.1 standard deviations)."""
    return share + 3.1 * (share * (1 - share) / experiments) ** 0.5


def measure(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Every cell by both rules."""
    experiments = 100 if given.quick else given.experiments
    rows = []
    settings = GRID + CORNERS
    with progress("Settings", len(settings), unit="settings") as advance:
        for setting in settings:
            counted = simulate(setting, experiments, rules=RULES)
            rows += [_row(setting, key, counts) for key, counts in counted.items()]
            advance()
    return {"experiments": experiments, "allowed": allowed(experiments), "rows": rows}


def _row(setting: Setting, key: Key, counts: Counter[str]) -> dict[str, Any]:
    truth, seeds, arms, rule = key
    described = {
        "overlap": setting.overlap,
        "spread": setting.spread,
        "test": setting.test,
        "common": setting.common,
        "started": setting.started,
        "accuracy": setting.accuracy,
        "drawn": setting.drawn,
    }
    return {
        "rule": rule,
        **described,
        "truth": truth,
        "seeds": seeds,
        "arms": arms,
        **{word: counts[word] / counts.total() for word in ("HELPED", "HARMED", "EQUIVALENT")},
    }


def show(figures: dict[str, Any], *, markdown: bool = False) -> None:
    """The worst and the middle cell for each number of seeds and arms, by truth and rule; then power."""
    table = print_markdown if markdown else print_table
    rows = [{**row, "wrong": row["HELPED"] + row["HARMED"]} for row in figures["rows"]]
    for rule in RULES:
        mine = [row for row in rows if row["rule"] == rule]
        print(f"\nWrong verdicts, %, by the rule {rule!r}: worst cell (median cell)\n")
        table(["truth", "arms", *(f"{count} seeds" for count in SEEDS)], _errors(mine))
        errors = [row["wrong"] for row in mine if row["truth"] != "power"]
        over = sum(error > figures["allowed"] for error in errors)
        print(
            f"\nof {len(errors)} cells {over} above {100 * figures['allowed']:.2f}% (5% and Monte Carlo "
            f"error of {figures['experiments']} experiments), "
            f"{sum(error > 0.05 for error in errors)} above 5%"
        )
    print(
        f"\nHELPED, %, where the strategy is better by {100 * EFFECT:g} points, two arms: rule now (plain)\n"
    )
    table(["overlap", "spread", "test", *(f"{count} seeds" for count in SEEDS)], _power(rows))


def _errors(rows: list[dict[str, Any]]) -> list[list[str]]:
    lines = []
    for truth, arms in itertools.product(TRUTHS[:-1], ARMS):
        cells = []
        for count in SEEDS:
            found = [
                row["wrong"]
                for row in rows
                if (row["truth"], row["arms"], row["seeds"]) == (truth, arms, count)
            ]
            cells.append(f"{100 * max(found):.1f} ({100 * float(np.median(found)):.1f})")
        lines.append([truth, str(arms), *cells])
    return lines


def _power(rows: list[dict[str, Any]]) -> list[list[str]]:
    usual_rows = [row for row in rows if row["common"] == 0 and row["started"] == 0 and row["drawn"] == 80]
    found = {
        (row["overlap"], row["spread"], row["test"], row["seeds"], row["rule"]): row["HELPED"]
        for row in usual_rows
        if row["truth"] == "power" and row["arms"] == 2 and row["accuracy"] == 0.8
    }
    cells = sorted({key[:3] for key in found})
    return [
        [
            *(f"{value:g}" for value in cell),
            *(f"{100 * found[*cell, n, 'now']:.0f} ({100 * found[*cell, n, 'plain']:.0f})" for n in SEEDS),
        ]
        for cell in cells
    ]


def main() -> None:
    options = parser(__doc__, "verdicts")
    usual(options)
    options.add_argument("--experiments", type=int, default=2000, help="in each cell")
    measure_and_show(options.parse_args(), measure, show)


if __name__ == "__main__":
    sys.exit(main())
