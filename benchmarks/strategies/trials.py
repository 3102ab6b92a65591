"""One trial: a strategy on a target with so many labels per class, in this process; and a file of them."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from targets import CASES

from regraft.api.transfer import transfer
from regraft.core.errors import RegraftError
from regraft.engine import Run, Settings
from regraft.targets import Target

SETTINGS = Settings(threads=1, backend="eager", compile="never")
"""One thread, because trials run beside each other; eager, because inputs are small and conversion is not."""

VALIDATED = ("loss", "calibrated loss", "accuracy")


@dataclass(frozen=True)
class Trial:
    """What is tried; two equal ones are one.

    Attributes
    ----------
    labels
        Per class, for training and validation together; 0 takes all that are no test.
    split
        A word for the test part.
    changes
        Settings of the plan, ``KEY=VALUE``.
    """

    target: str
    strategy: str
    labels: int
    seed: int
    split: str = ""
    changes: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)


class Records:
    """What trials gave, a line of JSON each: what is there is not tried again."""

    def __init__(self, path: Path):
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def all(self) -> list[dict[str, Any]]:
        """Every record."""
        return [json.loads(line) for line in self.path.read_text().splitlines()] if self.path.exists() else []

    def add(self, record: dict[str, Any]) -> None:
        with open(self.path, "a") as stream:
            stream.write(json.dumps(record) + "\n")

    def missing(self, trials: Iterable[Trial]) -> list[Trial]:
        there = {record["key"] for record in self.all()}
        return [trial for trial in trials if trial.key not in there]


class Bench:
    """Opens targets once and carries trials out in a folder."""

    def __init__(self, folder: Path):
        self.folder, self.targets = folder, dict[tuple[str, str], Target]()
        os.environ.setdefault("REGRAFT_CACHE", str(folder / "cache"))

    def target(self, name: str, split: str) -> Target:
        if (name, split) not in self.targets:
            self.targets[name, split] = CASES[name].open(self.folder / name, split)
        return self.targets[name, split]

    def run(self, trial: Trial) -> dict[str, Any]:
        """Carry one out; where the strategy does not apply the record says why."""
        said, start, worked = io.StringIO(), time.monotonic(), time.process_time()
        out = self.folder / f"run-{os.getpid()}"
        shutil.rmtree(out, ignore_errors=True)
        target = self.target(trial.target, trial.split)
        record: dict[str, Any] = {"key": trial.key, **asdict(trial)}
        with contextlib.redirect_stderr(said):
            try:
                record |= figures(self._fit(trial, target, out))
            except RegraftError as error:
                record["refused"] = str(error)
        record["seconds"] = round(time.monotonic() - start, 2)
        record["processor seconds"] = round(time.process_time() - worked, 2)
        record["kept start"] = "keeps the weights that it began with" in said.getvalue()
        return record

    def _fit(self, trial: Trial, target: Target, out: Path) -> Run:
        case = CASES[trial.target]
        joint = trial.strategy.startswith("joint") and case.source_data
        streams = {"source": self.target(case.source_data, trial.split)} if joint else None
        return transfer(
            target,
            out=out,
            source=case.source,
            strategy=trial.strategy,
            seed=trial.seed,
            per_class=trial.labels or None,
            changes=list(trial.changes),
            streams=streams,
            settings=SETTINGS,
            **case.options,
        )


def figures(run: Run) -> dict[str, Any]:
    """What is kept of a run: accuracy on the test part, what was trained, the validation of each epoch."""
    lines = [json.loads(line) for line in (run.folder / "history.jsonl").read_text().splitlines()]
    judged = [line["validation"] for line in lines if "validation" in line]
    outputs = run.metrics["outputs"]
    return {
        "accuracy": next(iter(outputs.values()))["metrics"]["accuracy"]["value"],
        "trained": run.facts["trained_parameters"],
        "total": run.facts["total_parameters"],
        "steps": max((line["step"] for line in lines if "step" in line), default=0),
        "validation": [[round(found.get(name, 0), 4) for name in VALIDATED] for found in judged],
    }


def carry_out(bench: Bench, records: Records, trials: Sequence[Trial]) -> None:
    """Run what has no record yet, and say how long the rest will take."""
    todo, start = records.missing(trials), time.monotonic()
    for number, trial in enumerate(todo, 1):
        if not records.missing([trial]):  # another process was faster
            continue
        record = bench.run(trial)
        records.add(record)
        left = (time.monotonic() - start) / number * (len(todo) - number)
        shown = f"{record['accuracy']:.3f}" if "accuracy" in record else record["refused"][:60]
        name = f"{trial.target} {trial.strategy} {trial.labels} {trial.seed} {' '.join(trial.changes)}"
        print(
            f"{number}/{len(todo)} {name}: {shown}, {record['seconds']:.0f} s; {left / 60:.0f} min left",
            flush=True,
        )
