"""Does ``regraft fit --strategy auto --budget 3m`` keep its time, with 2,000 photos of 300 x 300 pixels?

The photos are of solar cells (elpv-dataset), linked into class folders; the command is a process of its own
with a cache of its own, timed from its start to its end, imports included. What is asked for is a finished
run with a model inside the budget and half a minute, and that it says what there was no time for.

    python benchmarks/auto_budget.py
    python benchmarks/auto_budget.py --budget 5m --more="--source packaged:efficientnet-lite1"
    python benchmarks/auto_budget.py --quick
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from common import environment, parser, photo_folder, print_table, read_results, workplace, write_results

from regraft.core.deadline import seconds_of

PHOTOS, GRACE = 2000, 30.0


def measure(given: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Run the command once; what it took, what it chose, and how it went on from there."""
    photos = photo_folder(work / "photos", given.photos)
    out, cache = work / "run", work / "cache"
    command = [sys.executable, "-m", "regraft", "fit", str(photos), "--out", str(out), "--strategy", "auto"]
    command += ["--budget", given.budget, *shlex.split(given.more)]
    start = time.monotonic()
    done = subprocess.run(command, env=environment(cache), stderr=subprocess.PIPE, text=True, check=False)
    seconds = time.monotonic() - start
    print(done.stderr, file=sys.stderr)
    if done.returncode != 0:
        raise SystemExit(f"the command ended with status {done.returncode}")
    facts = json.loads((out / "run.json").read_text())
    metrics = json.loads((out / "metrics.json").read_text())
    return {
        "command": " ".join(["regraft", *command[3:]]).replace(str(work), "."),
        "photos": given.photos,
        "budget": seconds_of(given.budget),
        "seconds": round(seconds, 1),
        "model": (out / "model.safetensors").is_file(),
        "accuracy": metrics["outputs"]["label"]["metrics"]["accuracy"]["value"],
        "choice": facts["choice"],
    }


def show(found: dict[str, Any]) -> None:
    """The figures, and whether the aim was met."""
    choice, limit = found["choice"], found["budget"] + GRACE
    met = "met" if found["seconds"] <= limit and found["model"] else "missed"
    rows = [
        ("budget, s", found["budget"]),
        (f"process, s (aim: at most {limit:.0f}: {met})", found["seconds"]),
        ("foretold after the probe, s", choice["predicted_seconds"]),
        ("race, s", choice["race_seconds"]),
        ("final fit, foretold, s", choice["final_seconds"]),
        ("final fit, s", round(choice["spent_seconds"] - choice["race_seconds"], 1)),
        ("chosen", choice["winner"]),
        ("accuracy", round(found["accuracy"], 3)),
    ]
    print_table(("", "found"), [(name, str(value)) for name, value in rows])
    for sentence in choice["skipped"]:
        print(f"skipped: {sentence}")


def main() -> None:
    options = parser(__doc__, "auto_budget")
    options.add_argument("--budget", default="3m")
    options.add_argument("--photos", type=int, default=PHOTOS)
    options.add_argument("--more", default="", help="more options of the command, in quotes")
    options.add_argument("--quick", action="store_true", help="100 photos at 48 pixels; proves nothing")
    options.add_argument("--show", action="store_true", help="measure nothing: show the last figures")
    given = options.parse_args()
    if given.show:
        show(read_results(given.json))
        return
    if given.quick:
        given.photos, given.more = 100, f"{given.more} --size 48 --set stop.epochs=2"
    with workplace() as folder:
        found = measure(given, folder)
    show(found)
    if not given.quick:
        write_results(given.json, found)


if __name__ == "__main__":
    main()
