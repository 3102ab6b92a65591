"""What the benchmarks share: the solar-cell photos as class folders, tables, results as JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata, util
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parent
_PACKAGES = ("regraft", "torch", "openvino", "timm")


def parser(text: str | None, name: str) -> argparse.ArgumentParser:
    """A parser whose help is the script's docstring; ``--json`` says where the figures go."""
    made = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument(
        "--json", type=Path, default=ROOT / "results" / f"{name}.json", help="where the figures are written"
    )
    return made


def photos() -> list[tuple[Path, str]]:
    """Every photo of a solar cell (elpv-dataset) with its class: ``defective`` from a probability of 0.5."""
    found = util.find_spec("elpv_dataset")
    if found is None or found.origin is None:
        raise SystemExit('the photos are in a package: pip install "regraft[demo]"')
    folder = Path(found.origin).parent / "data"
    rows = [line.split() for line in (folder / "labels.csv").read_text().splitlines()]
    return [(folder / path, "defective" if float(p) >= 0.5 else "sound") for path, p, _ in rows]


def photo_folder(folder: Path, count: int | None = None) -> Path:
    """Class folders of links to ``count`` photos, drawn with a fixed seed (all of them if not given)."""
    chosen = photos()
    if count is not None and count < len(chosen):
        chosen = random.Random(0).sample(chosen, count)
    for path, label in chosen:
        (folder / label).mkdir(parents=True, exist_ok=True)
        (folder / label / path.name).symlink_to(path)
    return folder


@contextmanager
def workplace(keep: Path | None = None) -> Iterator[Path]:
    """A folder to work in: removed at the end, or ``keep``, which stays."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep
        return
    with TemporaryDirectory(prefix="regraft-benchmark-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def environment(cache: Path) -> dict[str, str]:
    """The environment of a child process that keeps what it caches in ``cache``."""
    return {**os.environ, "REGRAFT_CACHE": str(cache)}


def memory_of_session(leader: int) -> list[float]:
    """Megabytes of each process of a session, shared memory divided among those who share it (Pss).

    Empty where there is no /proc.
    """
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[3]) == leader:
                lines = (stat.parent / "smaps_rollup").read_text().splitlines()
                found.append(sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024)
        except OSError:
            continue  # it has ended
    return found


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A plain table; text to the left, numbers to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(columns), *cells]) for i in range(len(columns))]
    right = [all(not isinstance(row[i], str) for row in rows) for i in range(len(columns))]
    for line in [list(columns), ["-" * width for width in widths], *cells]:
        shown = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(line, widths, right, strict=True))
        print("  ".join(shown).rstrip())


def write_results(path: Path, figures: Mapping[str, Any]) -> None:
    """Write figures as JSON, with the date and the versions that they were measured with."""
    about = {
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        **{name: metadata.version(name) for name in _PACKAGES if util.find_spec(name)},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"measured": about, **figures}, indent=2) + "\n")
    print(f"figures: {path}")
