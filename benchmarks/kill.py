"""Kill -9 runs at many moments, resume them, and compare every bit with runs that nothing disturbed.

Small networks on digits and on sentences, in the variants below. A process that has imported everything forks
a child for each fit and each resume, and a child is killed for real (SIGKILL), in one of four ways:

- ``time``: after a random time within the length of an undisturbed run;
- ``save``: while a checkpoint is being written (a folder ``.part-`` is there);
- ``stage``: once a random number of lines stands in its history, in the middle of a stage or between two;
- ``features``: as soon as something of the frozen layers has been kept.

Half of the resumed runs find the cache emptied, and some are killed again. A run equals the undisturbed one
if `model.safetensors`, `metrics.json` and `history.jsonl` (but for seconds) are the same to the bit.

    python benchmarks/kill.py               # 240 runs, 200 kills or more
    python benchmarks/kill.py --trials 12   # fewer
"""

# ruff: noqa: E402 - the number of threads has to be set before anything is imported that starts them

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from argparse import Namespace
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"  # a process with threads cannot be forked safely

import numpy as np
import torch
from common import parser, print_table, workplace, write_results
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn

import regraft as rg
from regraft.api.fit import fit, resume
from regraft.engine.history import bare
from regraft.engine.open import fitted_tasks
from regraft.linking import Blueprint, find_link
from regraft.plans import Plan, change_plan
from regraft.plans.files import plan_from_data
from regraft.sources import Source, find
from regraft.strategies import plan_for
from regraft.targets import Target

LIMIT = 300.0  # seconds after which a child is taken for hanging
WAYS = ("time", "time", "save", "stage", "features")


class Sentences(nn.Module):
    """Token embeddings, dropout, their mean over the mask, and a layer."""

    def __init__(self, vocabulary: int):
        super().__init__()
        self.embedding, self.dropout = nn.Embedding(vocabulary, 12), nn.Dropout(0.2)
        self.layer = nn.Linear(12, 12)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        kept = attention_mask[..., None].to(torch.float32)
        tokens = self.dropout(self.embedding(input_ids)) * kept
        return torch.relu(self.layer(tokens.sum(1) / kept.sum(1)))


def image_source() -> Source:
    """Three blocks with batch norm and dropout, 16 pixels."""
    torch.manual_seed(0)

    def block(before: int, after: int, stride: int) -> nn.Module:
        convolution = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU(), nn.Dropout2d(0.1))

    network = nn.Sequential(block(3, 16, 1), block(16, 24, 2), block(24, 32, 2))
    return rg.Source.from_module(network, rg.ImagePreprocessing(size=(16, 16)), name="digits")


def text_source() -> Source:
    torch.manual_seed(0)
    steps = find("packaged:minilm").preprocessing
    return rg.Source.from_module(Sentences(30522), steps, name="sentences")


def photo_target(folder: Path) -> Target:
    """60 digits of three classes as files: few enough to be decoded without further processes."""
    digits = load_digits(n_class=3)
    for index in range(60):
        place = folder / f"digit-{digits.target[index]}"
        place.mkdir(parents=True, exist_ok=True)
        pixels = (digits.images[index] * 255 / 16).astype(np.uint8)
        Image.fromarray(pixels).resize((16, 16)).save(place / f"{index:02d}.png")
    return Target.from_images(folder)


def text_target(folder: Path) -> Target:
    """Sums in words, with their parity as the label."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    rows = [
        f"{words[a]} and {words[b]},{'odd' if (a + b) % 2 else 'even'}" for a in range(10) for b in range(8)
    ]
    (folder / "sums.csv").write_text("body,label\n" + "\n".join(rows) + "\n")
    return Target.from_table(folder / "sums.csv", text="body", label="label")


@dataclass(frozen=True)
class Variant:
    """A plan with its data, source and settings."""

    name: str
    plan: Plan
    target: Target
    source: Source
    settings: rg.Settings


TRAINED = ("stop.epochs=6", "stop.patience=5", "streams.target.batch=4", "optimiser.accumulate=2")


def variants(folder: Path) -> list[Variant]:
    photos, texts = photo_target(folder / "photos"), text_target(folder / "texts")
    image, text = image_source(), text_source()

    def made(
        name: str,
        strategy: str,
        data: Target,
        source: Source,
        *,
        ema: bool = False,
        mix: bool = False,
        **given: Any,
    ) -> Variant:
        tasks = tuple(fitted_tasks(data, data.draw(0)).values())
        plan = plan_for(find_link(source, Blueprint(source, tasks)), strategy, seed=0)
        plan = plan if strategy == "probe" else change_plan(plan, list(TRAINED))
        written = plan.model_dump(mode="json")
        if ema:
            written["models"]["average"] = {"average_of": "student", "decay": 0.9}
            written["stages"][-1]["stop"]["judge"] = "average"
        if mix:
            written["streams"]["target"]["mix"] = {"mixup": 0.4}
        settings = rg.Settings("cpu", threads=1, backend="eager", **given)
        return Variant(name, plan_from_data(written), data, source, settings)

    return [
        made("image probe", "probe", photos, image),
        made("image lpft, every step", "lpft:1", photos, image, checkpoint_seconds=0.0),
        made("image full, views, EMA, every step", "full", photos, image, ema=True, checkpoint_seconds=0.0),
        made("image full, views, EMA, mixup, 2 workers, every step", "full", photos, image, ema=True,
             mix=True, workers=2, checkpoint_seconds=0.0),
        made("image full, views, 2 workers, default interval", "full", photos, image, workers=2),
        made("text probe", "probe", texts, text),
        made("text full, EMA, 0.1 s", "full", texts, text, ema=True, checkpoint_seconds=0.1),
        made("text full, 2 workers, every step", "full", texts, text, workers=2, checkpoint_seconds=0.0),
    ]  # fmt: skip


@dataclass
class Trial:
    """One run in a folder of its own, killed and resumed until it is done."""

    variant: Variant
    place: Path
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def out(self) -> Path:
        return self.place / "run"

    def child(self) -> None:
        """Fit, or resume where there is a run; in the child process."""
        os.environ["REGRAFT_CACHE"] = str(self.place / "cache")
        variant = self.variant
        sources = {variant.source.name: variant.source}
        if (self.out / "run.json").is_file():
            resume(self.out, sources=sources, settings=variant.settings)
        else:
            fit(variant.plan, variant.target, out=self.out, sources=sources, settings=variant.settings)

    def run(self, kill: Callable[[float], bool] | None, way: str = "") -> bool:
        """Run until the end (True), or until ``kill``, asked all the time, says so."""
        self.place.mkdir(parents=True, exist_ok=True)
        process = os.fork()
        if process == 0:
            with open(self.place / "log.txt", "a") as log:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
            try:
                self.child()
            except BaseException:  # noqa: BLE001 - a child never goes on as its parent
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        start = time.monotonic()
        while True:
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                if status:
                    raise RuntimeError(f"{self.variant.name} failed after {self.events}:\n{self.log()}")
                return True
            after = time.monotonic() - start
            if after > LIMIT:
                os.kill(process, signal.SIGKILL)
                raise RuntimeError(f"{self.variant.name} hangs after {self.events}:\n{self.log()}")
            if kill is not None and kill(after):
                os.kill(process, signal.SIGKILL)
                os.waitpid(process, 0)
                self.events.append({"way": way, "after": round(after, 2), "during": self.moment()})
                return False
            time.sleep(0.001)

    def log(self) -> str:
        return "\n".join((self.place / "log.txt").read_text().splitlines()[-15:])

    def saving(self) -> bool:
        return any((self.out / "checkpoints").glob(".part-*"))

    def lines(self) -> int:
        path = self.out / "history.jsonl"
        return path.read_text().count("\n") if path.is_file() else 0

    def moment(self) -> str:
        """Where the kill fell, from what lies in the folder."""
        if not (self.out / "run.json").is_file():
            return "before run.json"
        if self.saving():
            return "in a save"
        if json.loads((self.out / "run.json").read_text())["status"] == "done":
            return "in the report"
        if (self.out / "model.safetensors").is_file():
            return "in the bundle"
        states = sorted(self.out.glob("checkpoints/[0-9]*/state.json"))
        if states:
            return "in a stage" if json.loads(states[-1].read_text())["inside"] else "after a stage"
        kept = any((self.place / "cache").glob("activations/*/*"))
        return "no checkpoint yet, features" if kept else "no checkpoint yet, reading"

    def result(self) -> dict[str, str]:
        """Hashes of the weights, the figures and the history without its seconds."""
        lines = [json.loads(line) for line in (self.out / "history.jsonl").read_text().splitlines()]
        # Lines of kind "memory" tell what was free at that time.
        told = json.dumps([bare(line) for line in lines if line["kind"] != "memory"])
        files = {"weights": "model.safetensors", "figures": "metrics.json"}
        found = {what: (self.out / file).read_bytes() for what, file in files.items()}
        found["history"] = told.encode()
        return {what: hashlib.sha256(data).hexdigest() for what, data in found.items()}


def moment_of(
    trial: Trial, way: str, chance: random.Random, duration: float, lines: int
) -> Callable[[float], bool]:
    """Says whether the moment to kill has come, asked with the seconds since the start; some never come."""
    late = duration * chance.random()
    if way == "save":
        calls = chance.randrange(1, 12) if trial.variant.settings.checkpoint_seconds == 0 else 1
        seen: set[str] = set()

        def saving(after: float) -> bool:
            seen.update(path.name for path in (trial.out / "checkpoints").glob(".part-*"))
            return len(seen) >= calls and trial.saving()

        return saving
    if way == "stage":
        wanted = chance.randrange(1, max(lines, 2))
        return lambda after: trial.lines() >= wanted
    if way == "features":
        return lambda after: any((trial.place / "cache").glob("activations/*/*"))
    return lambda after: after >= late


def one(trial: Trial, chance: random.Random, wanted: dict[str, Any], again: float) -> dict[str, Any]:
    """Kill and resume one run until it is done, and compare."""
    finished = False
    while not finished:
        way = chance.choice(WAYS)
        kills = len(trial.events)
        wants = kills == 0 or (kills < 4 and chance.random() < again)
        kill = moment_of(trial, way, chance, wanted["seconds"], wanted["lines"]) if wants else None
        finished = trial.run(kill, way)
        if chance.random() < 0.5:
            shutil.rmtree(trial.place / "cache", ignore_errors=True)
    equal = {what: found == wanted["hashes"][what] for what, found in trial.result().items()}
    report = (trial.out / "report.html").is_file() and not (trial.out / "checkpoints").exists()
    shutil.rmtree(trial.place, ignore_errors=True)
    return {"variant": trial.variant.name, "kills": trial.events, **equal, "report": report}


def undisturbed(variant: Variant, place: Path) -> dict[str, Any]:
    trial = Trial(variant, place)
    start = time.monotonic()
    trial.run(None)
    return {"hashes": trial.result(), "seconds": time.monotonic() - start, "lines": trial.lines()}


def lane(number: int, options: Namespace, folder: Path, made: list[Variant]) -> None:
    """Every other trial, one after the other; rows go to a file."""
    wanted: dict[str, dict[str, Any]] = json.loads((folder / "wanted.json").read_text())
    with open(folder / f"lane-{number}.jsonl", "w", buffering=1) as rows:
        for index in range(number, options.trials, options.lanes):
            chance = random.Random(f"{options.seed} {index}")
            variant = made[index % len(made)]
            row = one(Trial(variant, folder / f"trial-{index}"), chance, wanted[variant.name], options.again)
            rows.write(json.dumps(row) + "\n")


def measure(options: Namespace, folder: Path) -> dict[str, Any]:
    torch.set_num_threads(1)
    made = variants(folder)
    start = time.monotonic()
    wanted = {}
    for index, variant in enumerate(made):
        first, second = (undisturbed(variant, folder / f"whole-{index}-{turn}") for turn in range(2))
        if first["hashes"] != second["hashes"]:
            raise SystemExit(f"{variant.name}: two undisturbed runs differ: there is nothing to compare with")
        wanted[variant.name] = second
        print(f"{variant.name}: {second['seconds']:.1f} s undisturbed", flush=True)
    (folder / "wanted.json").write_text(json.dumps(wanted))
    lanes = {}
    for number in range(options.lanes):
        process = os.fork()
        if process == 0:
            try:
                lane(number, options, folder, made)
            except BaseException:  # noqa: BLE001 - a child never goes on as its parent
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        lanes[process] = number
    failed = [number for process, number in lanes.items() if os.waitpid(process, 0)[1]]
    rows = [
        json.loads(line)
        for number in range(options.lanes)
        for line in (folder / f"lane-{number}.jsonl").read_text().splitlines()
    ]
    return {"seconds": round(time.monotonic() - start, 1), "failed_lanes": failed, "trials": rows}


def is_equal(row: dict[str, Any]) -> bool:
    return bool(row["weights"] and row["figures"] and row["history"] and row["report"])


def show(figures: dict[str, Any]) -> None:
    for title, keys in (("variant", None), ("where the kill fell", "during"), ("aimed at", "way")):
        kills, bad = Counter[str](), Counter[str]()
        for row in figures["trials"]:
            for kill in row["kills"]:
                name = kill[keys] if keys else row["variant"]
                kills[name] += 1
                bad[name] += not is_equal(row)
        print_table(
            [title, "kills", "equal", "unequal"],
            [[n, k, k - bad[n], bad[n]] for n, k in sorted(kills.items())],
        )
        print()
    total = sum(len(row["kills"]) for row in figures["trials"])
    good = sum(is_equal(row) for row in figures["trials"])
    print(
        f"{total} kills; {good} of {len(figures['trials'])} runs equal to the bit; {figures['seconds']:.0f} s"
    )


def main() -> int:
    options = parser(__doc__, "kill")
    options.add_argument("--trials", type=int, default=240, help="how many runs are killed")
    options.add_argument("--lanes", type=int, default=2, help="how many run at a time")
    options.add_argument("--again", type=float, default=0.3, help="chance that a resumed run is killed too")
    options.add_argument("--seed", type=int, default=0, help="of the kills' moments")
    options.add_argument("--short", action="store_true", help="eight runs, for CI")
    given = options.parse_args()
    if given.short:
        given.trials = 8
    with workplace() as folder:
        figures = measure(given, folder)
    show(figures)
    write_results(given.json, figures)
    return 0 if all(is_equal(row) for row in figures["trials"]) and not figures["failed_lanes"] else 1


if __name__ == "__main__":
    sys.exit(main())
