"""What the benchmarks share: the solar-cell photos as class folders, tables, results as JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
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


def cells() -> list[tuple[Path, float, str]]:
    """Every photo of a solar cell (elpv-dataset), its probability of a defect and its kind, mono or poly."""
    found = util.find_spec("elpv_dataset")
    if found is None or found.origin is None:
        raise SystemExit('the photos are in a package: pip install "regraft[demo]"')
    folder = Path(found.origin).parent / "data"
    rows = [line.split() for line in (folder / "labels.csv").read_text().splitlines()]
    return [(folder / path, float(probability), kind) for path, probability, kind in rows]


def photos() -> list[tuple[Path, str]]:
    """Every photo with its class: ``defective`` from a probability of 0.5."""
    return [(path, "defective" if defect >= 0.5 else "sound") for path, defect, _ in cells()]


def photo_kinds(folder: Path, count: int) -> Path:
    """Class folders of links to ``count`` photos, in 8 classes: kind of cell by probability of a defect."""
    chosen = random.Random(0).sample(cells(), count)
    link_photos(folder, [(path, f"{kind}, {defect:.2f}") for path, defect, kind in chosen])
    return folder


def link_photos(folder: Path, chosen: Sequence[tuple[Path, str]]) -> None:
    """Links to photos in a folder for each class."""
    for path, label in chosen:
        (folder / label).mkdir(parents=True, exist_ok=True)
        (folder / label / path.name).symlink_to(path)


def photo_folder(folder: Path, count: int | None = None) -> Path:
    """Class folders of links to ``count`` photos, drawn with a fixed seed (all of them if not given)."""
    chosen = photos()
    if count is not None and count < len(chosen):
        chosen = random.Random(0).sample(chosen, count)
    link_photos(folder, chosen)
    return folder


def usual(options: argparse.ArgumentParser) -> None:
    """``--quick``, a size that only shows that the script runs; ``--markdown``, the last figures' table."""
    options.add_argument("--quick", action="store_true", help="a small size, under a minute; proves nothing")
    options.add_argument(
        "--markdown", action="store_true", help="measure nothing: print the table of the figures as Markdown"
    )


def aimed(value: float, aim: float) -> str:
    """Whether an aim (at least so much) was met, in words."""
    return f"{value:.1f} (aim {aim:g}: {'met' if value >= aim else 'missed'})"


@contextmanager
def workplace(keep: Path | None = None) -> Iterator[Path]:
    """A folder to work in: removed at the end, or ``keep``, which stays."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep
        return
    with TemporaryDirectory(prefix="regraft-benchmark-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def measure_and_show(
    given: argparse.Namespace,
    measure: Callable[[argparse.Namespace, Path], dict[str, Any]],
    show: Callable[..., None],
) -> None:
    """Measure in a folder with a cache of its own, show and keep the figures; with ``--markdown`` only show
    the last ones. For scripts with the :func:`usual` options.
    """
    if given.markdown:
        show(read_results(given.json), markdown=True)
        return
    with workplace() as folder:
        os.environ["REGRAFT_CACHE"] = str(folder / "cache")
        figures = measure(given, folder)
    show(figures)
    write_results(given.json, figures)


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


def print_markdown(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """The same as a table in Markdown."""
    for line in [columns, ["---"] * len(columns), *rows]:
        print("| " + " | ".join(str(cell) for cell in line) + " |")


def read_results(path: Path) -> dict[str, Any]:
    """The figures that were written last."""
    if not path.is_file():
        raise SystemExit(f"there are no figures at {path} yet: run this without --markdown first")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


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
