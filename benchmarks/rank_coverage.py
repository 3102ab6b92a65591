"""Do the intervals of `regraft rank` hold what they promise? And the constants that they are made of.

What a ranking predicts is the accuracy of `lpft` with all labels, from a probe on some of them. Here both are
known: `truth` fine-tunes sources on real targets with 10, 50 or 200 labels a class (most of it is taken from
`results/strategies.jsonl`), `show` looks at samples of these labels as a ranking would, and compares.
Constants are fitted on all targets but one, and the interval is judged on that one.

    python benchmarks/rank_coverage.py truth --work /tmp/rank    # what is there is not run again
    python benchmarks/rank_coverage.py show --work /tmp/rank --out benchmarks/results/rank_coverage.json
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).resolve().parent / "strategies"))

from targets import CASES

from regraft.api.transfer import transfer
from regraft.choosing.ranking.forecast import STEPS, Steps, curve_sizes, forecast, slope
from regraft.choosing.ranking.reader import Reader
from regraft.choosing.ranking.sample import draw_sample
from regraft.choosing.ranking.scale import Scale
from regraft.choosing.ranking.score import resample_together, score_features
from regraft.engine import Settings
from regraft.sources import find
from regraft.targets import Target

HERE = Path(__file__).resolve().parent
SETTINGS = Settings(device="cpu", threads=1, backend="eager", compile="never")
CHANGES = ["stop.steps=150"]  # as in the comparison of strategies
RECORDS = HERE / "results" / "rank_truth.jsonl"
OTHERS = [
    (target, f"packaged:efficientnet-lite{number}", labels, 0)
    for labels in (10, 50)
    for target in ("digits", "mnist", "cells")
    for number in (1, 2)
]
SAMPLES = (64, 256)
SHARE = Scale(True)


@dataclass(frozen=True)
class Pair:
    """One source fine-tuned on one draw of one target, and what a probe said on a sample of the same labels.

    Attributes
    ----------
    truth
        Accuracy of the fine-tuned model on the test part, as log-odds.
    value, error, curve
        Of the probe on the sample, as log-odds.
    doublings
        log2(all labels / sample).
    """

    target: str
    source: str
    labels: int
    seed: int
    sample: int
    truth: float
    value: float
    error: float
    curve: tuple[float, ...]
    doublings: float


def truths() -> list[dict[str, Any]]:
    """Records of `lpft` with all labels: target, source, labels per class, seed, accuracy."""
    found = []
    for line in (HERE / "results" / "strategies.jsonl").read_text().splitlines():
        record = json.loads(line)
        if record["strategy"] == "lpft" and record["changes"] == CHANGES and not record["split"]:
            found.append({**record, "source": CASES[record["target"]].source})
    if RECORDS.exists():
        found += [json.loads(line) for line in RECORDS.read_text().splitlines()]
    keys = ("target", "source", "labels", "seed", "accuracy")
    return [{key: record[key] for key in keys} for record in found]


def run_truth(folder: Path) -> None:
    """Fine-tune the other sources."""
    done = {(one["target"], one["source"], one["labels"], one["seed"]) for one in truths()}
    todo = [one for one in OTHERS if one not in done]
    for number, (target, source, labels, seed) in enumerate(todo, 1):
        out = folder / "run"
        shutil.rmtree(out, ignore_errors=True)
        run = transfer(
            CASES[target].open(folder / target),
            out=out,
            source=source,
            strategy="lpft",
            seed=seed,
            per_class=labels,
            changes=CHANGES,
            settings=SETTINGS,
            **CASES[target].options,
        )
        figure = next(iter(run.metrics["outputs"].values()))["metrics"]["accuracy"]["value"]
        record = {"target": target, "source": source, "labels": labels, "seed": seed, "accuracy": figure}
        with open(RECORDS, "a") as stream:
            stream.write(json.dumps(record) + "\n")
        print(f"{number}/{len(todo)} {target} {source} {labels}: {figure:.3f}", flush=True)


def look(folder: Path, minutes: float) -> list[Pair]:
    """What a ranking would see of each record."""
    pairs, targets, readers = list[Pair](), dict[str, Target](), dict[tuple[str, str], Reader]()
    # What is cheap to look at comes first, for whoever has few minutes.
    cheap = sorted(truths(), key=lambda one: (one["source"] == "packaged:minilm", one["labels"]))
    until = time.monotonic() + 60 * minutes
    for number, record in enumerate(cheap):
        name, source = record["target"], record["source"]
        if time.monotonic() > until:
            print(f"{len(cheap) - number} of {len(cheap)} records were not looked at", flush=True)
            break
        if name not in targets:
            targets[name] = CASES[name].open(folder / name)
        whole = targets[name]
        if (name, source) not in readers:
            opened = find(source, **CASES[name].options)
            readers[name, source] = Reader(opened, SETTINGS, SETTINGS.apply())
        draw = whole.draw(record["seed"], per_class=record["labels"])
        chosen = np.union1d(np.concatenate([draw.train, draw.validation]), whole.test)
        pairs += pairs_of(record, whole.select(chosen), readers[name, source])
        print(f"{name} {source} {record['labels']} {record['seed']}", file=sys.stderr, flush=True)
    return pairs


def pairs_of(record: dict[str, Any], target: Target, reader: Reader) -> list[Pair]:
    """One for each size of the sample that there are labels for."""
    count, found = len(target.pool), []
    truth = float(SHARE.forward(record["accuracy"], len(target.test)))
    everything = draw_sample(target, target.tasks[0], count, seed=0).readable(reader.source.preprocessing)
    features = reader.features(everything, lambda done: None)
    for size in sorted({min(count, one) for one in SAMPLES}):
        curve = []
        for part in curve_sizes(size, max(16, 2 * len(everything.spec.classes))):
            places = everything.within(part)
            labels, task = everything.labels[places], everything.task
            score = score_features(features[places], labels, task, reader.source.name)
            curve.append(score.value)
        error = float(resample_together([score], seed=0).std())
        found.append(
            Pair(
                **{key: record[key] for key in ("target", "source", "labels", "seed")},
                sample=size,
                truth=truth,
                value=score.value,
                error=error,
                curve=tuple(curve),
                doublings=math.log2(len(everything) / score.count),
            )
        )
    return found


def fit(pairs: list[Pair]) -> Steps:
    """The constants, by least squares on the log-odds; variances are what the bootstrap leaves over."""
    usual = float(np.mean([slope(one.curve, 0.0) for one in pairs if len(one.curve) > 1]))
    far = np.array([one.doublings for one in pairs])
    left = np.array([one.truth - one.value for one in pairs])
    shapes = np.array([slope(one.curve, usual) for one in pairs])
    columns = np.stack([far * shapes, far, np.ones(len(pairs))], axis=1)
    (a, b, gain), *_ = np.linalg.lstsq(columns, left, rcond=None)
    weight = float(np.clip(a, 0.0, 1.0))
    usual = float(b / (1 - weight)) if weight < 1 else 0.0
    rest = left - columns @ [weight, (1 - weight) * usual, gain]
    over = rest**2 - np.array([one.error for one in pairs]) ** 2
    near, away = over[far < 0.5], over[far >= 0.5]
    spread = float(np.sqrt(max(near.mean(), 0.01)))
    each = (away.mean() - spread**2) / np.mean(far[far >= 0.5] ** 2) if len(away) else 0.0
    return Steps(
        usual,
        weight,
        float(gain),
        spread,
        float(np.sqrt(max(each, 0.0))),
        apart(pairs),
        STEPS.smaller,
        STEPS.raced,
    )


def apart(pairs: list[Pair]) -> float:
    """What fine-tuning adds to one source and not to another on the same draw, as a standard deviation."""
    groups: dict[tuple[Any, ...], list[float]] = {}
    for one in pairs:
        if one.sample == max(SAMPLES) or one.doublings == 0:
            key = (one.target, one.labels, one.seed, one.sample)
            groups.setdefault(key, []).append(one.truth - one.value)
    several = [values for values in groups.values() if len(values) > 1]
    if not several:
        return float("nan")
    squares = sum(float(np.sum((np.array(values) - np.mean(values)) ** 2)) for values in several)
    return math.sqrt(squares / sum(len(values) - 1 for values in several))


def show(pairs: list[Pair]) -> dict[str, Any]:
    """Coverage of the intervals on targets that the constants were not fitted on."""
    rows = []
    for target in dict.fromkeys(pair.target for pair in pairs):
        steps = fit([one for one in pairs if one.target != target])
        for one in (pair for pair in pairs if pair.target == target):
            found = forecast(one.value, one.error, one.curve, one.doublings, steps)
            ends = [float(SHARE.back(value)) for value in (found.low, found.value, found.high, one.truth)]
            rows.append(
                {**asdict(one), "low": ends[0], "predicted": ends[1], "high": ends[2], "true": ends[3]}
            )
    steps = fit(pairs)
    print(f"all targets: {steps}\n")
    print("| target | sample | predictions | inside | mean error | mean width |\n|---|---|---|---|---|---|")
    for target in (*dict.fromkeys(pair.target for pair in pairs), "all"):
        for sample in ("small", "large"):
            some = [
                row
                for row in rows
                if target in (row["target"], "all") and (row["sample"] <= min(SAMPLES)) == (sample == "small")
            ]
            if some:
                print(line_of(target, sample, some))
    return {"steps": asdict(steps), "pairs": rows}


def line_of(target: str, sample: str, rows: list[dict[str, Any]]) -> str:
    """A line of the table; errors and widths in points of accuracy."""
    inside = np.array([row["low"] <= row["true"] <= row["high"] for row in rows])
    error = np.mean([abs(row["true"] - row["predicted"]) for row in rows])
    width = np.mean([row["high"] - row["low"] for row in rows])
    size = "64 at most" if sample == "small" else "65 to 256"
    share = f"{inside.sum()} ({inside.mean():.0%})"
    return f"| {target} | {size} | {len(rows)} | {share} | {100 * error:.1f} | {100 * width:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("truth", "show"))
    parser.add_argument("--work", type=Path, required=True, help="a folder for data and runs")
    parser.add_argument("--out", type=Path, help="where figures go, as JSON")
    parser.add_argument("--minutes", type=float, default=60.0, help="how long records are looked at")
    given = parser.parse_args()
    if given.what == "truth":
        run_truth(given.work)
        return
    found = show(look(given.work, given.minutes))
    if given.out:
        given.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
