"""A fit on real photos among which stands one of each kind of bad example, and of each that only looks bad.

The photos are those of solar cells. Beside them stand files that cannot be read (corrupt, truncated, empty, a
decompression bomb, text under an image's name, a table, no permission, a link to nothing) and files that can
(CMYK, 16 bits, palette with transparency, EXIF-rotated, animated). `regraft fit` runs in a child process; all
of the first kind have to be in unreadable.csv with a reason, none of the others may be lost, and those of the
second kind have to give the pixels of the photo that they were made from.

Memory is measured in two ways: the largest single process, as the system counts it for children that ended
(resource.getrusage), and, on Linux, the largest sum over the child and its decoding processes of memory that
is counted once where it is shared (Pss), looked at ten times a second.

    python benchmarks/bad_examples.py
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import shutil
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from common import (
    environment,
    memory_of_session,
    parser,
    photo_folder,
    photos,
    print_table,
    workplace,
    write_results,
)
from PIL import Image

ALLOWED = 4.0  # mean difference of pixels (of 255): CMYK is stored as JPEG
ORIENTATION = 0x0112
NO_OVERRIDE = "-dac_override,-dac_read_search"


def write_unreadable(folder: Path, photo: Path) -> list[str]:
    """Files that cannot be read; returns their names."""
    whole = photo.read_bytes()
    middle = len(whole) // 2
    files = {
        "bad-corrupt.png": whole[:middle] + bytes(range(256)) * 8 + whole[middle + 2048 :],
        "bad-truncated.png": whole[:middle],
        "bad-empty.png": b"",
        "bad-bomb.png": bomb(20_000),
        "bad-text.png": b"This is a sentence and no picture.\n",
        "bad-table.csv": b"item,label\n1,sound\n",
        "bad-permission.png": whole,
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / "bad-permission.png").chmod(0)
    (folder / "bad-missing.png").symlink_to(folder / "nowhere.png")
    return [*files, "bad-missing.png"]


def bomb(side: int) -> bytes:
    """A sound PNG of a few hundred kilobytes that unpacks to ``side`` times ``side`` pixels."""
    packer = zlib.compressobj()
    rows = b"".join(packer.compress(bytes(side + 1)) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")]
    packed = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def write_odd(folder: Path, expected: Path, chosen: list[Path]) -> list[str]:
    """Files that only look bad; what they should look like stands in ``expected`` under the same name."""
    expected.mkdir()
    pictures = [Image.open(path).convert("L") for path in chosen[:5]]
    cmyk, deep, palette, turned, moving = pictures
    names = ["odd-cmyk.jpg", "odd-16bit.png", "odd-palette.png", "odd-exif.png", "odd-animated.gif"]

    cmyk.convert("RGB").convert("CMYK").save(folder / names[0], quality=95)
    Image.fromarray(np.asarray(deep).astype(np.uint16) * 257).save(folder / names[1])
    indexed = palette.point(lambda value: max(value, 1)).convert("P")
    hole = np.array(indexed)
    hole[:, : hole.shape[1] // 2] = 0
    clear = Image.fromarray(hole, "P")
    clear.putpalette([level for value in range(256) for level in (value, value, value)])
    clear.save(folder / names[2], transparency=0)
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # stored lying on its side, to be turned clockwise
    turned.transpose(Image.Transpose.ROTATE_90).save(folder / names[3], exif=exif)
    moving.save(folder / names[4], save_all=True, append_images=pictures[:3], duration=100)

    white = np.where(hole == 0, 255, hole).astype(np.uint8)
    for name, picture in zip(names, [cmyk, deep, Image.fromarray(white), turned, moving], strict=True):
        picture.save(expected / f"{name}.png")
    return names


def differences(folder: Path, expected: Path, names: list[str]) -> dict[str, float]:
    """How far what regraft reads is from what should be seen: mean over pixels, of 255."""
    from regraft.targets.decoding import Geometry, read_pixels

    geometry = Geometry((224, 224))
    pairs = {name: (folder / name, expected / f"{name}.png") for name in names}
    read = {name: [read_pixels(str(p), geometry).astype(float) for p in pair] for name, pair in pairs.items()}
    return {name: round(float(np.abs(found - wanted).mean()), 2) for name, (found, wanted) in read.items()}


def run_fit(data: Path, work: Path, strategy: str) -> dict[str, Any]:
    """Run the command in a child; returns seconds and megabytes."""
    command = [sys.executable, "-m", "regraft", "fit", str(data), "--out", str(work / "run")]
    command += ["--strategy", strategy]
    if os.geteuid() == 0:  # the system's first user may read everything, so the child gives that right up
        if not shutil.which("setpriv"):
            raise SystemExit("as root this needs setpriv (package util-linux), or run it as another user")
        command = ["setpriv", f"--bounding-set={NO_OVERRIDE}", f"--inh-caps={NO_OVERRIDE}", *command]
    start, most, processes = time.monotonic(), 0.0, 0
    child = subprocess.Popen(command, env=environment(work / "cache"), start_new_session=True)
    while child.poll() is None:
        shares = memory_of_session(child.pid)
        most, processes = max(most, sum(shares)), max(processes, len(shares))
        time.sleep(0.1)
    if child.returncode:
        raise SystemExit(f"the fit failed with status {child.returncode}")
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    seconds = time.monotonic() - start
    return {
        "seconds": round(seconds, 1),
        "largest process, MB": round(largest),
        "all processes, MB": round(most),
        "processes": processes,
    }


def measure(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    data, expected = photo_folder(work / "photos", options.photos), work / "expected"
    used = {path.name for path in data.rglob("*.png")}
    others = [path for path, _ in photos() if path.name not in used]
    if len(others) < 6:
        raise SystemExit("--photos: leave six of them for the odd files")
    bad = write_unreadable(data / "sound", others[0])
    odd = write_odd(data / "sound", expected, others[1:])
    distances = differences(data / "sound", expected, odd)
    costs = run_fit(data, work, options.strategy)
    target = json.loads((work / "run" / "target.json").read_text())
    with open(work / "run" / "unreadable.csv", newline="") as stream:
        named = {Path(row["item"]).name: row["reason"] for row in csv.DictReader(stream)}
    return {
        "photos": len(used),
        "expected": {"used": len(used) + len(odd), "unreadable": len(bad)},
        "found": {"used": target["count"], "unreadable": len(named)},
        "reasons": {name: named.get(name) for name in bad},
        "lost": sorted(set(named) - set(bad)),
        "differences": distances,
        "strategy": options.strategy,
        "costs": costs,
    }


def problems(figures: dict[str, Any]) -> list[str]:
    """What is not as it should be."""
    found = [f"{name} is not in unreadable.csv" for name, why in figures["reasons"].items() if not why]
    found += [f"{name} was lost" for name in figures["lost"]]
    if figures["found"] != figures["expected"]:
        found.append(f"counts: {figures['found']}, expected {figures['expected']}")
    far = {name: value for name, value in figures["differences"].items() if value > ALLOWED}
    return found + [f"{name} is read {value} of 255 beside its photo" for name, value in far.items()]


def main() -> int:
    options = parser(__doc__, "bad_examples")
    options.add_argument("--photos", type=int, default=2000, help="how many sound photos stand beside them")
    options.add_argument("--strategy", default="probe", help="how the model is fitted")
    given = options.parse_args()
    with workplace() as work:
        figures = measure(given, work)
    print_table(["unreadable", "reason given"], [[name, why] for name, why in figures["reasons"].items()])
    print()
    print_table(["readable", "mean difference from its photo, of 255"], list(figures["differences"].items()))
    print(f"\n{figures['found']['used']} used, {figures['found']['unreadable']} unreadable")
    print(", ".join(f"{what}: {value}" for what, value in figures["costs"].items()))
    wrong = problems(figures)
    print(
        "\n".join(wrong)
        if wrong
        else "all unreadable ones are named with a reason, none of the others is lost"
    )
    write_results(given.json, {**figures, "problems": wrong})
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
