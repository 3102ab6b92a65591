"""``--strategy auto`` against every fixed strategy, on six real targets: regret, and the time kept.

On each target, number of labels per class and seed the fixed strategies are fitted, and auto races the same
ones within its budget; accuracy is that on the sealed test part, which the race never reads. Regret is the
best fixed strategy's accuracy (of this target, these labels, this seed) minus auto's; beside it stands the
regret of always taking one and the same strategy. What auto expects of strategies before it tries them is
fitted on the other five targets. No stage takes more than 150 steps, as in the comparison
of strategies (``benchmarks/strategies/``), whose records of the same trials are used where they are there.

    python benchmarks/auto_regret.py run
    python benchmarks/auto_regret.py run --part 0/2 & python benchmarks/auto_regret.py run --part 1/2
    python benchmarks/auto_regret.py show

What is recorded is not run again. In all 432 trials: 54 of auto (2 minutes each at most, so 1.8 hours of one
core) and 378 fixed ones, of which those on texts take longest.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent / "strategies"))

from targets import CASES
from trials import SETTINGS, Bench, Records, Trial, carry_out

from regraft.api.transfer import transfer
from regraft.choosing.auto import expected
from regraft.choosing.auto.expected import Gain
from regraft.engine import Run
from regraft.targets import Target

ROOT = Path(__file__).resolve().parent
RECORDS, KNOWN = ROOT / "results" / "auto_regret.jsonl", ROOT / "results" / "strategies.jsonl"
FIXED = ("probe", "lpft", "partial", "l2sp", "lora", "full", "joint")
LABELS, SEEDS = (10, 50, 200), (0, 1, 2)
LIMIT = "stop.steps=150"
BUDGET = "2m"
AUTO, PROBE = "auto", "probe"
Record = dict[str, Any]


class AutoBench(Bench):
    """Carries out trials of auto as well, within the budget."""

    def __init__(self, folder: Path, budget: str, known: Sequence[Record]):
        super().__init__(folder)
        self.budget, self.choice, self.known = budget, dict[str, Any](), known

    def run(self, trial: Trial) -> Record:
        """The record of a trial; one of auto says what it chose and what that took."""
        self.choice = {}
        record = super().run(trial)
        return record | ({"choice": self.choice} if self.choice else {})

    def _fit(self, trial: Trial, target: Target, out: Path) -> Run:
        if trial.strategy != AUTO:
            return super()._fit(trial, target, out)
        with mock.patch.dict(expected.GAINS, gains_without(trial.target, self.known)):
            return self._fit_auto(trial, target, out)

    def _fit_auto(self, trial: Trial, target: Target, out: Path) -> Run:
        case = CASES[trial.target]
        streams = {"source": self.target(case.source_data, trial.split)} if case.source_data else None
        run = transfer(
            target,
            out=out,
            source=case.source,
            strategy=AUTO,
            budget=self.budget,
            seed=trial.seed,
            per_class=trial.labels,
            changes=list(trial.changes),
            streams=streams,
            settings=SETTINGS,
            **case.options,
        )
        self.choice = run.facts["choice"]
        return run


def gains_without(target: str, records: Iterable[Record]) -> dict[str, tuple[Gain, Gain, Gain]]:
    """The gains that ``auto`` expects, from all targets but one: it must not know what it is judged by."""
    cells: dict[tuple[str, int, int], dict[str, float]] = defaultdict(dict)
    for one in records:
        if "accuracy" in one and one["target"] != target:
            cells[one["target"], one["labels"], one["seed"]][one["strategy"]] = one["accuracy"]
    found: dict[str, dict[int, dict[str, list[float]]]] = defaultdict(lambda: defaultdict(dict))
    for (name, labels, _), figures in cells.items():
        if PROBE not in figures:
            continue
        spread = (figures[PROBE] * (1 - figures[PROBE])) ** 0.5
        for strategy, figure in figures.items():
            if strategy in expected.GAINS:
                gains = found[strategy][labels].setdefault(name, [])
                gains.append((figure - figures[PROBE]) / spread)
    return {name: tuple(gain_of(found[name], labels) for labels in LABELS) for name in found}


def gain_of(found: dict[int, dict[str, list[float]]], labels: int) -> Gain:
    """Over targets; with as many labels as are nearest where there are none of these."""
    nearest = min(found, key=lambda other: abs(math.log(other / labels)))
    means = [mean(values) for values in found[nearest].values()]
    return Gain(mean(means), max(stdev(means), 0.05) if len(means) > 1 else 0.1)


def trials(
    strategies: Sequence[str], labels: Sequence[int] = LABELS, seeds: Sequence[int] = SEEDS
) -> list[Trial]:
    """Few labels first; the fixed strategies before auto, which then finds no more kept than they left."""
    found = product(labels, seeds, CASES, strategies)
    return [
        Trial(target, name, count, seed, "", () if name == "probe" else (LIMIT,))
        for count, seed, target, name in found
        if name != "joint" or CASES[target].source_data
    ]


def known(records: Records) -> list[Record]:
    """What was recorded here, and trials of the comparison of strategies that are the same."""
    wanted = {trial.key for trial in trials((*FIXED, AUTO))}
    found = {one["key"]: one for one in [*Records(KNOWN).all(), *records.all()] if one["key"] in wanted}
    return list(found.values())


def show(records: Iterable[Record]) -> None:
    """Mean and worst regret of auto and of each strategy by itself, and the time that auto took."""
    cells: dict[tuple[Any, ...], dict[str, float]] = defaultdict(dict)
    choices = []
    for one in records:
        if "accuracy" in one:
            cells[one["target"], one["labels"], one["seed"]][one["strategy"]] = one["accuracy"]
        if one.get("choice"):
            choices.append(one["choice"])
    whole = {key: found for key, found in cells.items() if AUTO in found and len(found) > 2}
    print(f"{len(whole)} of {len(LABELS) * len(SEEDS) * len(CASES)} cells have auto and two others or more\n")
    print("| strategy | cells | mean regret | worst | best or within 0.5 points |")
    print("| --- | --- | --- | --- | --- |")
    for name in (AUTO, *FIXED):
        print("| " + " | ".join(regrets(name, whole)) + " |")
    if choices:
        shares = [one["spent_seconds"] / one["budget_seconds"] for one in choices]
        kept = sum(share <= 1.15 for share in shares)
        print(f"\nauto took {mean(shares):.0%} of its budget on average, {max(shares):.0%} at most; ", end="")
        print(f"{kept} of {len(shares)} within 115%")
        won = defaultdict(int)
        for one in choices:
            won[one["winner"]] += 1
        print("chosen: " + ", ".join(f"{name} {count}" for name, count in sorted(won.items())))


def regrets(name: str, cells: dict[tuple[Any, ...], dict[str, float]]) -> list[str]:
    """How far a strategy is behind the best fixed one, in points; auto may be ahead of all."""
    behind = [
        max(value for other, value in found.items() if other != AUTO) - found[name]
        for found in cells.values()
        if name in found
    ]
    if not behind:
        return [name, "0", "", "", ""]
    near = sum(value <= 0.005 for value in behind)
    return [
        name,
        str(len(behind)),
        f"{100 * mean(behind):.2f}",
        f"{100 * max(behind):.1f}",
        f"{near} of {len(behind)}",
    ]


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("what", choices=["run", "show"])
    options.add_argument("--work", type=Path, default=ROOT / "work", help="a folder for data and activations")
    options.add_argument("--records", type=Path, default=RECORDS, help="where each trial leaves a line")
    options.add_argument("--strategies", nargs="+", default=[*FIXED, AUTO], help="some of them, if not all")
    options.add_argument("--budget", default=BUDGET)
    options.add_argument("--targets", nargs="+", default=list(CASES), help="some of them, if not all")
    options.add_argument("--labels", nargs="+", type=int, default=LABELS, help="per class; some of them")
    options.add_argument("--seeds", nargs="+", type=int, default=SEEDS, help="some of them")
    options.add_argument("--part", default="0/1", help="I/N: every Nth trial from the Ith on")
    given = options.parse_args()
    records = Records(given.records)
    if given.what == "show":
        show(known(records))
        return
    first, of = map(int, given.part.split("/"))
    there = {one["key"] for one in known(records)}
    wanted = [
        trial
        for trial in trials(given.strategies, given.labels, given.seeds)
        if trial.key not in there and trial.target in given.targets
    ]
    carry_out(AutoBench(given.work, given.budget, known(records)), records, wanted[first::of])


if __name__ == "__main__":
    main()
