"""How time and memory grow with the examples and with the network: exponents of a fit to nine runs.

1, 4 and 16 times 100 photos of solar cells by 1, 2 and 4 times 3 layers of a vision transformer (width 192,
random weights, 112 pixels, so that 4 times the layers is close to 4 times the arithmetic). Each run is a
process of its own with an empty cache, and does one after the other: decoding, the features of all photos, a
probe, and a partial fine-tune of the last layer (5 epochs behind a frozen prefix). Seconds are those of each
part; memory is the highest resident memory of the process until the end of that part, less what it had after
the imports.

The exponents are those of ``seconds = c * examples^a * layers^b``, by least squares on logarithms, each with
its standard error: 1 is proportional. What costs the same whatever the size (compiling, reading files) pulls
them below 1.

    PYTHONPATH=src .venv/bin/python benchmarks/growth.py
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import (
    ROOT,
    environment,
    measure_and_show,
    parser,
    photo_folder,
    print_markdown,
    print_table,
    usual,
)

PARTS = ("decode", "features", "probe", "partial fine-tune")
TIMES = (1, 2, 4)


def peak() -> float:
    """The highest resident memory of this process so far, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def child(options: argparse.Namespace) -> None:
    """One run: the whole pipeline on so many photos with a network of so many layers."""
    from partial import open_work, plan_of  # imports torch and all of regraft that is used below

    from regraft.engine import execute
    from regraft.sources import find
    from regraft.strategies import plan_for
    from regraft.targets import Target, prepare

    seconds, memory, base = {}, {}, peak()

    def book(part: str) -> None:
        nonlocal start
        seconds[part], memory[part] = time.perf_counter() - start, peak() - base
        start = time.perf_counter()

    source = find(f"hf:{options.work / f'vit-{options.layers}'}")
    start = time.perf_counter()  # finding it imports transformers
    target = Target.from_images(options.work / f"photos-{options.photos}").with_test(2)
    prepared = prepare(target, source.preprocessing)
    book("decode")
    last = f"layers.{options.layers - 1}"
    tune = plan_of(
        source, prepared.target, (last, "layernorm"), f"layers.{options.layers - 2}", rate=3e-4, epochs=5
    )
    work = open_work(tune, prepared, source, "auto", keep=True)
    start = time.perf_counter()  # linking and loading are not what is asked for
    work.features("student", np.sort(np.concatenate([work.draw.train, work.draw.validation])))
    book("features")
    probe = plan_for(work_link(prepared, source), "probe")
    second = open_work(probe, prepared, source, "auto", keep=True)
    start = time.perf_counter()
    execute(second)
    book("probe")
    execute(work)
    book("partial fine-tune")
    options.out.write_text(json.dumps({"seconds": seconds, "memory": memory, "imports": base}))


def work_link(prepared: Any, source: Any) -> Any:
    from regraft.linking import Blueprint, find_link
    from regraft.tasks import make_task

    return find_link(source, Blueprint(source, tuple(make_task(spec) for spec in prepared.target.tasks)))


def write_networks(work: Path, layers: list[int], size: int) -> None:
    import torch
    from transformers import ViTConfig, ViTModel

    for count in layers:
        torch.manual_seed(0)
        config = ViTConfig(
            hidden_size=192,
            num_hidden_layers=count,
            num_attention_heads=3,
            intermediate_size=768,
            image_size=size,
            patch_size=16,
        )
        ViTModel(config, add_pooling_layer=False).save_pretrained(work / f"vit-{count}")


def one(work: Path, photos: int, layers: int) -> dict[str, Any]:
    out = work / f"{photos}-{layers}.json"
    command = [sys.executable, str(ROOT / "growth.py"), "--child", "--work", str(work), "--out", str(out)]
    command += ["--photos", str(photos), "--layers", str(layers)]
    cache = work / f"cache-{photos}-{layers}"
    done = subprocess.run(command, env=environment(cache), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if done.returncode:
        raise SystemExit(f"{photos} photos, {layers} layers: failed\n{done.stderr.decode()[-2000:]}")
    found: dict[str, Any] = json.loads(out.read_text())
    whole = {"seconds": sum(found["seconds"].values()), "memory": max(found["memory"].values())}
    print(f"{photos} photos, {layers} layers: {whole['seconds']:.1f} s, {whole['memory']:.0f} MB", flush=True)
    return {"photos": photos, "layers": layers, **found, "whole": whole}


def exponents(runs: list[dict[str, Any]], values: list[float]) -> dict[str, list[float]]:
    """Slope and standard error in the logarithm of examples and of layers."""
    design = np.array([[1.0, np.log(run["photos"]), np.log(run["layers"])] for run in runs])
    target = np.log(np.maximum(values, 1e-3))
    fitted, *_ = np.linalg.lstsq(design, target, rcond=None)
    rest = target - design @ fitted
    spread = (rest @ rest) / max(len(runs) - 3, 1) * np.linalg.inv(design.T @ design)
    errors = np.sqrt(np.diag(spread))
    return {name: [float(fitted[at]), float(errors[at])] for at, name in ((1, "examples"), (2, "layers"))}


def measure(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    times = TIMES[:2] if options.quick else TIMES
    photos = [options.photos * factor**2 for factor in times]
    layers = [options.layers * factor for factor in times]
    write_networks(work, layers, options.size)
    for count in photos:
        photo_folder(work / f"photos-{count}", count)
    runs = [one(work, count, depth) for count in photos for depth in layers]
    parts = {part: exponents(runs, [run["seconds"][part] for run in runs]) for part in PARTS}
    return {
        "size": options.size,
        "runs": runs,
        "seconds": {**parts, "whole": exponents(runs, [run["whole"]["seconds"] for run in runs])},
        "memory": exponents(runs, [run["whole"]["memory"] for run in runs]),
    }


def show(figures: dict[str, Any], *, markdown: bool = False) -> None:
    draw = print_markdown if markdown else print_table
    columns = ["photos", "layers", *(f"{part}, s" for part in PARTS), "whole, s", "memory, MB"]
    draw(
        columns,
        [
            [
                run["photos"],
                run["layers"],
                *(round(run["seconds"][part], 2) for part in PARTS),
                round(run["whole"]["seconds"], 1),
                round(run["whole"]["memory"]),
            ]
            for run in figures["runs"]
        ],
    )
    print()
    rows = [[f"seconds, {part}", *map(shown, found.values())] for part, found in figures["seconds"].items()]
    draw(
        ["what grows", "with examples", "with layers"],
        [*rows, ["memory, highest", *map(shown, figures["memory"].values())]],
    )
    base = figures["runs"][0]["imports"]
    print(f"\nexponents with their standard error; memory is counted from the {base:.0f} MB after imports")


def shown(entry: list[float]) -> str:
    return f"{entry[0]:.2f} +- {entry[1]:.2f}"


def main() -> None:
    options = parser(__doc__, "growth")
    usual(options)
    options.add_argument("--photos", type=int, default=100, help="photos of the smallest run")
    options.add_argument("--layers", type=int, default=3, help="layers of the smallest network")
    options.add_argument("--size", type=int, default=112, help="input size in pixels")
    options.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.child:
        child(given)
        return
    if given.quick:
        given.photos, given.layers, given.size = 12, 2, 32
    measure_and_show(given, measure, show)


if __name__ == "__main__":
    main()
