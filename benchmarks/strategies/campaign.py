"""Which trials are run: a screening of every strategy, then the best of them in full.

    python benchmarks/strategies/campaign.py screen
    python benchmarks/strategies/campaign.py full
    python benchmarks/strategies/campaign.py show

The compute was planned beforehand: about 40 minutes of one core for the screening, 70 for the comparison in
full. Inputs are small (48 or 96 pixels), trials have one thread, and two processes can share them (``--part
0/2`` and ``--part 1/2``); what is recorded is not run again. The screening has one seed, 20 labels per class
and another test part than the comparison in full, in which no stage takes more than 150 steps.
"""

from __future__ import annotations

import argparse
import sys
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from show import show_full, show_screening
from targets import CASES
from trials import Bench, Records, Trial, carry_out

from regraft.strategies import STRATEGIES

ROOT = Path(__file__).resolve().parents[1]
RECORDS = ROOT / "results" / "strategies.jsonl"
SCREEN = ("digits", "cells", "drawings", "words")
SCREENED = "screen"
"""The word for the screening's test part."""
LABELS = (10, 50, 200)
SEEDS = (0, 1, 2)
ARGUMENTS = {
    "probe": ("", ":logistic", ":centroid", ":knn"),
    "joint": ("", ":learned"),
    "distil": (":packaged:efficientnet-lite1",),
}
"""What is tried of a strategy beside or instead of its default."""
BEST = ("probe:logistic", "lpft", "lora", "wise-ft", "soup", "bi-tuning")
DEFAULT = "probe"
LIMIT = "stop.steps=150"


def screening() -> list[Trial]:
    """Every strategy that says anything of a target with one output, on every target that it applies to."""
    names = [name + word for name in STRATEGIES if name != "multitask" for word in ARGUMENTS.get(name, ("",))]
    return [
        Trial(target, name, 20, 0, SCREENED)
        for name, target in product(names, SCREEN)
        if applies(name, target)
    ]


def applies(name: str, target: str) -> bool:
    """Whether a target has what a strategy reads: labelled source data; a bigger source for images."""
    case = CASES[target]
    return not (name.startswith("joint") and not case.source_data) and not (
        name.startswith("distil:") and "minilm" in case.source
    )


def full() -> list[Trial]:
    """The best and the default at three numbers of labels, few labels first."""
    found = product(LABELS, SEEDS, CASES, (DEFAULT, *BEST))
    return [Trial(t, name, labels, seed, "", limits(name)) for labels, seed, t, name in found]


def limits(name: str) -> tuple[str, ...]:
    return () if name.startswith("probe") else (LIMIT,)


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("what", choices=["screen", "full", "show"])
    options.add_argument("--work", type=Path, default=ROOT / "work", help="a folder for data and activations")
    options.add_argument("--records", type=Path, default=RECORDS, help="where each trial leaves a line")
    options.add_argument("--strategies", nargs="+", help="some of them, if not all")
    options.add_argument("--part", default="0/1", help="I/N: every Nth trial from the Ith on")
    given = options.parse_args()
    records = Records(given.records)
    if given.what == "show":
        screened = [record for record in records.all() if record["split"] == SCREENED]
        show_screening(screened, SCREEN)
        print()
        show_full([record for record in records.all() if record["split"] == ""], list(CASES), DEFAULT)
        return
    first, of = map(int, given.part.split("/"))
    trials = {"screen": screening, "full": full}[given.what]()
    wanted = [trial for trial in trials if not given.strategies or trial.strategy in given.strategies]
    carry_out(Bench(given.work), records, wanted[first::of])


if __name__ == "__main__":
    main()
