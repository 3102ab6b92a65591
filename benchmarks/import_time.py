"""How long ``import regraft`` and ``regraft --help`` take, in seconds: best of five, each in a new process.

Run: ``python benchmarks/import_time.py``
"""

from __future__ import annotations

import re
import subprocess
import sys
import time

REPEATS = 5


def import_seconds() -> float:
    """Cumulative time of ``import regraft``, as ``python -X importtime`` gives it."""
    command = [sys.executable, "-X", "importtime", "-c", "import regraft"]
    log = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    (microseconds,) = re.findall(r"\|\s+(\d+) \| regraft$", log, flags=re.MULTILINE)
    return int(microseconds) / 1e6


def wall_seconds(*arguments: str) -> float:
    """Wall time of a new interpreter with these arguments."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    rows = {
        "import regraft (importtime)": import_seconds,
        "python -c 'import regraft'": lambda: wall_seconds("-c", "import regraft"),
        "regraft --help": lambda: wall_seconds("-m", "regraft", "--help"),
        "python -c pass, for comparison": lambda: wall_seconds("-c", "pass"),
    }
    for name, measure in rows.items():
        print(f"{name:32} {min(measure() for _ in range(REPEATS)):.3f} s")


if __name__ == "__main__":
    main()
