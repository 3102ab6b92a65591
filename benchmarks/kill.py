"""Kill -9 a fit at random moments, resume it, and compare the final weights with an uninterrupted run's.

The run is `lpft` on photos of solar cells, in a child process, with a checkpoint every 0.2 seconds. Kills are
spread over the whole duration of an uninterrupted run, and every trial begins with an empty cache, so that
they also hit imports, decoding, the frozen layers and the writing of the bundle. Half of the kills take the
main process only and leave its decoding processes behind, the others all of them at once. A resumed run may
be killed again. Where no run.json had been written yet, the emptied folder is fitted anew, as a person would.

    python benchmarks/kill.py            # ten trials
    python benchmarks/kill.py --short    # three, for CI
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common import environment, parser, photo_folder, print_table, workplace, write_results

MODEL = "model.safetensors"
LIMIT = 900.0  # seconds after which a child is taken for hanging


def child(data: str, out: str, size: int, epochs: int, backend: str) -> None:
    """What the child process runs; `checkpoint_seconds` has no option on the command line."""
    from regraft.api.transfer import transfer
    from regraft.engine import Settings

    settings = Settings(backend=backend, checkpoint_seconds=0.2)
    changes = [f"stop.epochs={epochs}"]
    transfer(data, out=out, strategy="lpft", size=size, changes=changes, settings=settings)


@dataclass
class Trial:
    """One fit in a folder of its own, killed and resumed until it is done."""

    place: Path
    fit: list[str]
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def out(self) -> Path:
        return self.place / "run"

    def command(self) -> list[str]:
        """Fit, or resume where there is a run."""
        if (self.out / "run.json").is_file():
            return [sys.executable, "-m", "regraft", "resume", str(self.out)]
        shutil.rmtree(self.out, ignore_errors=True)
        return [*self.fit, str(self.out)]

    def run(self, kill_after: float | None, *, group: bool = True) -> bool:
        """Run until the end (True), or until it is killed."""
        self.place.mkdir(parents=True, exist_ok=True)
        command = self.command()
        with open(self.place / "log.txt", "a") as log:
            env = environment(self.place / "cache")
            process = subprocess.Popen(command, stdout=log, stderr=log, env=env, start_new_session=True)
        try:
            status = process.wait(LIMIT if kill_after is None else kill_after)
        except subprocess.TimeoutExpired:
            if kill_after is None:
                raise
            (os.killpg if group else os.kill)(process.pid, signal.SIGKILL)
            process.wait()
            self.events.append({"after": round(kill_after, 2), "all": group, "during": self.moment()})
            return False
        if status:
            tail = "\n".join((self.place / "log.txt").read_text().splitlines()[-12:])
            raise SystemExit(f"a child failed with status {status} (after {self.events}):\n{tail}")
        return True

    def moment(self) -> str:
        """What the folder and the cache say was going on."""
        if not (self.out / "run.json").is_file():
            return "before run.json"
        status = json.loads((self.out / "run.json").read_text())["status"]
        states = sorted(self.out.glob("checkpoints/[0-9]*/state.json"))
        if status == "done":
            return "done, report"
        if (self.out / MODEL).is_file():
            return f"{status}, bundle"
        if states:
            state = json.loads(states[-1].read_text())
            step = f"step {state['standing']['step']}" if state["inside"] else "its beginning"
            return f"{status}, stage {state['stage']}, {step}"
        done = sum(path.read_bytes().count(1) for path in self.place.glob("cache/images/*/shard-*/done.u8"))
        shards = len(list(self.place.glob("cache/activations/*/*.safetensors")))
        return f"{status}, no checkpoint; {done} photos decoded, {shards} files of features"

    def result(self) -> dict[str, str]:
        """Hashes of the weights and of the figures."""
        files = {"weights": MODEL, "figures": "metrics.json"}
        return {
            what: hashlib.sha256((self.out / name).read_bytes()).hexdigest() for what, name in files.items()
        }


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    data = photo_folder(folder / "photos", options.photos)
    arguments = [str(options.size), str(options.epochs), options.backend, str(data)]
    fit = [sys.executable, str(Path(__file__).resolve()), "--child", *arguments]
    first, _ = whole(folder / "whole-0", fit)
    second, duration = whole(folder / "whole-1", fit)  # finds the interpreter's files in memory, as trials do
    if first != second:
        raise SystemExit("two uninterrupted runs differ: there is nothing to compare with")
    print(f"uninterrupted: {duration:.1f} s, weights {first['weights'][:12]}", flush=True)
    rows = [one(folder, fit, number, duration, first, options) for number in range(options.trials)]
    if whole(folder / "whole-2", fit)[0] != first:
        raise SystemExit("uninterrupted runs before and after differ: was the code changed meanwhile?")
    return {"photos": options.photos, "size": options.size, "epochs": options.epochs, "trials": rows}


def whole(place: Path, fit: list[str]) -> tuple[dict[str, str], float]:
    """An uninterrupted run: its hashes, and how many seconds it took."""
    trial = Trial(place, fit)
    start = time.monotonic()
    trial.run(None)
    return trial.result(), time.monotonic() - start


def one(
    folder: Path, fit: list[str], number: int, duration: float, wanted: dict[str, str], options: Any
) -> dict[str, Any]:
    """One trial; its moments depend on the seed and its number only."""
    chance = random.Random(f"{options.seed} {number}")
    trial = Trial(folder / f"trial-{number}", fit)
    group = chance.random() < 0.5
    finished = trial.run(duration * (number + chance.random()) / options.trials, group=group)
    while not finished:
        again = chance.random() < options.again and len(trial.events) < 5
        finished = trial.run(duration * chance.random() if again else None, group=chance.random() < 0.5)
    equal = {what: found == wanted[what] for what, found in trial.result().items()}
    row = {"kills": trial.events, **equal, "report": (trial.out / "report.html").is_file()}
    said = "equal" if all(equal.values()) else f"DIFFERENT: {equal}"
    print(f"trial {number + 1}: {len(trial.events)} kills, {said}", flush=True)
    shutil.rmtree(trial.place, ignore_errors=True)
    return row


def is_good(row: dict[str, Any]) -> bool:
    """Whether weights and figures are the uninterrupted run's, and the report is there."""
    return bool(row["weights"] and row["figures"] and row["report"])


def show(figures: dict[str, Any]) -> None:
    lines = []
    for number, row in enumerate(figures["trials"]):
        verdict = "equal" if is_good(row) else "DIFFERENT"
        for place, kill in enumerate(row["kills"]):
            end = verdict if place == len(row["kills"]) - 1 else "killed again"
            who = "all" if kill["all"] else "main"
            lines.append([number + 1, kill["after"], who, kill["during"], end])
        if not row["kills"]:
            lines.append([number + 1, 0.0, "none", "finished before the kill", verdict])
    print_table(["trial", "after, s", "killed", "what was going on", "final weights"], lines)
    good = sum(is_good(row) for row in figures["trials"])
    kills = sum(len(row["kills"]) for row in figures["trials"])
    print(f"{good} of {len(figures['trials'])} runs equal the uninterrupted one bit for bit, {kills} kills")


def main() -> int:
    if sys.argv[1:2] == ["--child"]:
        size, epochs, backend, data, out = sys.argv[2:]
        child(data, out, int(size), int(epochs), backend)
        return 0
    options = parser(__doc__, "kill")
    options.add_argument("--trials", type=int, default=10, help="how many runs are killed")
    options.add_argument("--short", action="store_true", help="three trials on fewer photos, for CI")
    options.add_argument("--photos", type=int, default=1200, help="how many photos are fitted")
    options.add_argument("--size", type=int, default=64, help="input size in pixels")
    options.add_argument("--epochs", type=int, default=6, help="epochs of fine-tuning")
    options.add_argument("--backend", default="auto", help="what runs frozen layers: auto, eager or openvino")
    options.add_argument("--again", type=float, default=0.5, help="chance that a resumed run is killed too")
    options.add_argument("--seed", type=int, default=0, help="of the kills' moments")
    given = options.parse_args()
    if given.short:
        given.trials, given.photos = 3, 400
    with workplace() as folder:
        figures = measure(given, folder)
    show(figures)
    write_results(given.json, figures)
    return 0 if all(is_good(row) for row in figures["trials"]) else 1


if __name__ == "__main__":
    sys.exit(main())
