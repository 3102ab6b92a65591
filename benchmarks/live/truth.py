"""What fine-tuning gives: every source on every target, `lpft` with all labels outside the test part."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cases import CASES
from pretrained import source_of
from trials import SETTINGS, Records

from regraft.api.transfer import transfer
from regraft.core.errors import RegraftError
from regraft.targets import Target

STRATEGY = "lpft"
"""What a ranking's predictions are for, as its plan comes: 15 epochs."""


@dataclass(frozen=True)
class Pair:
    """A source on a target, with one seed for the order of examples and what of them is validation."""

    target: str
    source: str
    seed: int

    @property
    def key(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)


def fine_tune(work: Path, records: Records, pairs: list[Pair]) -> None:
    """Fine-tune what has no record yet, target by target."""
    todo, start = records.missing(pairs), time.monotonic()
    opened: dict[str, Target] = {}
    for number, pair in enumerate(todo, 1):
        if pair.target not in opened:
            opened[pair.target] = CASES[pair.target].open(work / "targets" / pair.target)
        record = run(work, pair, opened[pair.target])
        records.add(record)
        left = (time.monotonic() - start) / number * (len(todo) - number)
        shown = f"{record['accuracy']:.3f}" if "accuracy" in record else record["refused"][:60]
        print(
            f"{number}/{len(todo)} {pair.target} {pair.source} {pair.seed}: {shown}, "
            f"{record['seconds']:.1f} s; {left / 60:.1f} min left",
            flush=True,
        )


def run(work: Path, pair: Pair, target: Target) -> dict[str, Any]:
    """One pair's record: accuracy on the test part, its size, seconds."""
    record: dict[str, Any] = {"key": pair.key, **asdict(pair)}
    name, options = source_of(work, pair.source)
    out = work / "run"
    shutil.rmtree(out, ignore_errors=True)
    start, worked = time.monotonic(), time.process_time()
    try:
        found = transfer(
            target, out=out, source=name, strategy=STRATEGY, seed=pair.seed, settings=SETTINGS, **options
        )
        output = next(iter(found.metrics["outputs"].values()))
        record["accuracy"] = output["metrics"]["accuracy"]["value"]
    except RegraftError as error:
        record["refused"] = str(error)
    record |= {"labels": len(target.pool), "tests": len(target.test)}
    record["seconds"] = round(time.monotonic() - start, 2)
    record["processor seconds"] = round(time.process_time() - worked, 2)
    return record
