"""Features of solar-cell photos: regraft's pass over frozen layers beside timm's eager loop.

Both run in this process, one after the other, several times, on the same decoded pixels, in batches of 32,
with the same number of threads and the same weights (those of the pip package, renamed for timm). What is
paid only once, decoding and compiling, is shown apart. The ratio of a round is taken within the round.

The ceiling of a round is what dense matrix products of the same multiply-adds take in the same round: a
product of two large float32 matrices is the fastest arithmetic that this machine has. The first start
converts and compiles the network; the second one, in a new process, finds it in the cache.

timm needs an environment of its own, which `make test-vision` creates:

    PYTHONPATH=src .venv-vision/bin/python benchmarks/features.py
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import environment, parser, photo_folder, print_table, workplace, write_results
from torch.utils.flop_counter import FlopCounterMode

from regraft.inference import Embedder
from regraft.sources import Source, Trunk, build_trunk, find, read_weights
from regraft.targets import Target, prepare

BATCH = 32
NETWORK = "tf_efficientnet_lite0"


def timm_network(source: Source) -> torch.nn.Module:
    """The network of timm with the source's weights. Both list tensors in the same order; names differ."""
    import timm

    network = timm.create_model(NETWORK, pretrained=False, num_classes=0).eval()
    ours = {name: t for name, t in read_weights(source).items() if not name.startswith("_fc.")}
    ours = {name: tensor for name, tensor in ours.items() if not name.endswith("num_batches_tracked")}
    theirs = [name for name in network.state_dict() if not name.endswith("num_batches_tracked")]
    renamed = dict(zip(theirs, ours.values(), strict=True))
    missing = network.load_state_dict(renamed, strict=False)
    if missing.unexpected_keys or any("num_batches" not in name for name in missing.missing_keys):
        raise SystemExit(f"the weights do not fit {NETWORK}: {missing}")
    return network


def timm_features(network: torch.nn.Module, inputs: Any, count: int) -> torch.Tensor:
    """The loop that a person writes: batches, eval, inference mode."""
    found = []
    with torch.inference_mode():
        for start in range(0, count, BATCH):
            batch = inputs.batch(np.arange(start, min(start + BATCH, count)))
            found.append(network(batch["pixels"]))
    return torch.cat(found)


def dense_rate(side: int = 2048, repeats: int = 4) -> float:
    """Multiply-adds per second of dense matrix products in float32."""
    left, right = torch.randn(side, side), torch.randn(side, side)
    torch.mm(left, right)
    best = min(timed(lambda: torch.mm(left, right))[0] for _ in range(repeats))
    return side**3 / best


def multiply_adds(trunk: Trunk, inputs: Any) -> float:
    """Of one image; the counter counts two for each."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        trunk(inputs.batch(np.zeros(1, np.int64)))
    return counter.get_total_flops() / 2


START = """
import time
import sys
import numpy as np, torch
from regraft.inference import Embedder
from regraft.sources import find, load_native
from regraft.targets import list_items
source = find("packaged:efficientnet-lite0", size=int(sys.argv[1]))
trunk, inputs = load_native(source), list_items(sys.argv[3:], source.preprocessing).read().inputs
start = time.perf_counter()
made = Embedder(trunk, inputs, cut=len(trunk.blocks), backend=sys.argv[2], keep=False)
made.features(np.arange(len(inputs)))
print(made.backend_name, time.perf_counter() - start)
"""


def starts(folder: Path, size: int, backend: str, cache: Path) -> dict[str, float]:
    """Seconds from decoded pixels to the features of 32 images, in a first and a second new process."""
    files = [str(path) for path in sorted((folder / "photos").rglob("*")) if path.is_file()][:BATCH]
    found = {}
    for name in ("first start", "second start"):
        command = [sys.executable, "-c", START, str(size), backend, *files]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment(cache))
        found[name] = float(done.stdout.split()[-1])
    return found


def timed(work: Callable[[], torch.Tensor]) -> tuple[float, torch.Tensor]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    source = find("packaged:efficientnet-lite0", size=options.size)
    target = Target.from_images(photo_folder(folder / "photos", options.images))
    start = time.perf_counter()
    prepared = prepare(target, source.preprocessing)
    decoding = time.perf_counter() - start
    inputs, count = prepared.inputs, len(prepared.target)

    network = timm_network(source)
    linked = read_weights(source)
    trunk = build_trunk(source)
    trunk.network.load_state_dict({name: linked[name] for name in trunk.network.state_dict()})

    def embedder() -> Embedder:
        return Embedder(trunk, inputs, cut=len(trunk.blocks), backend=options.backend, keep=False)

    # The first batch compiles; timm's first batch warms its own kernels up.
    opening, _ = timed(lambda: embedder().features(np.arange(BATCH)))
    timed(lambda: timm_features(network, inputs, BATCH))
    backend, everything = embedder().backend_name, np.arange(count)
    rounds = []
    work = multiply_adds(trunk, inputs) * count
    for number in range(options.rounds):
        ceiling = work / dense_rate()
        ours, features = timed(lambda: embedder().features(everything))
        theirs, reference = timed(lambda: timm_features(network, inputs, count))
        difference = float((features - reference).abs().max() / reference.abs().max())
        rounds.append(
            {
                "regraft": ours,
                "timm": theirs,
                "ceiling": ceiling,
                "ratio": theirs / ours,
                "share of the ceiling": ceiling / ours,
                "difference": difference,
            }
        )
        print(
            f"round {number + 1}: timm takes {theirs / ours:.2f} times as long; "
            f"{ceiling / ours:.2f} of the ceiling",
            flush=True,
        )
    return {
        "images": count,
        "size": options.size,
        "threads": torch.get_num_threads(),
        "backend": backend,
        "multiply-adds": work,
        "seconds": {
            "decoding": decoding,
            "compiling and the first batch": opening,
            **starts(folder, options.size, options.started, folder / "fresh"),
        },
        "rounds": rounds,
        "ratio": statistics.median(entry["ratio"] for entry in rounds),
        "share of the ceiling": statistics.median(entry["share of the ceiling"] for entry in rounds),
        "difference": max(entry["difference"] for entry in rounds),
    }


def show(figures: dict[str, Any]) -> None:
    count = figures["images"]
    rows = [
        [
            number + 1,
            *(round(count / entry[side], 1) for side in ("regraft", "timm", "ceiling")),
            round(entry["ratio"], 2),
            round(entry["share of the ceiling"], 2),
        ]
        for number, entry in enumerate(figures["rounds"])
    ]
    sides = (f"regraft ({figures['backend']})", "timm eager", "ceiling")
    head = ["round", *(f"{side}, images/s" for side in sides), "ratio", "share of the ceiling"]
    print_table(head, rows)
    paid = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in figures["seconds"].items())
    print(f"{count} images at {figures['size']} pixels, {figures['threads']} threads; paid once: {paid}")
    print(
        f"median ratio {figures['ratio']:.2f} (aim: 6), share of the ceiling "
        f"{figures['share of the ceiling']:.2f} (aim: 0.85); largest difference of a feature, relative to "
        f"the largest feature: {figures['difference']:.1e}"
    )


def main() -> None:
    options = parser(__doc__, "features")
    options.add_argument("--images", type=int, default=2000, help="how many photos")
    options.add_argument("--size", type=int, default=224, help="input size in pixels")
    options.add_argument("--rounds", type=int, default=3, help="how often each side runs, alternating")
    options.add_argument(
        "--backend", default="auto", help="regraft's backend: auto, eager, openvino or compile"
    )
    options.add_argument("--started", default="openvino", help="the backend of the two starts")
    given = options.parse_args()
    with workplace() as folder:
        os.environ["REGRAFT_CACHE"] = str(folder / "cache")
        figures = measure(given, folder)
        show(figures)
        write_results(given.json, figures)


if __name__ == "__main__":
    main()
