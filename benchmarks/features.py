"""Features of solar-cell photos: regraft's pass over frozen layers beside timm's eager loop.

Both run in this process, one after the other, several times, on the same decoded pixels, in batches of 32,
with the same number of threads and the same weights (those of the pip package, renamed for timm). What is
paid only once, decoding and compiling, is shown apart. The ratio of a round is taken within the round.

timm needs an environment of its own, which `make test-vision` creates:

    PYTHONPATH=src .venv-vision/bin/python benchmarks/features.py
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import parser, photo_folder, print_table, workplace, write_results

from regraft.inference import Embedder
from regraft.sources import Source, build_trunk, find, read_weights
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
    for number in range(options.rounds):
        ours, features = timed(lambda: embedder().features(everything))
        theirs, reference = timed(lambda: timm_features(network, inputs, count))
        difference = float((features - reference).abs().max() / reference.abs().max())
        rounds.append({"regraft": ours, "timm": theirs, "ratio": theirs / ours, "difference": difference})
        print(f"round {number + 1}: timm takes {theirs / ours:.2f} times as long", flush=True)
    return {
        "images": count,
        "size": options.size,
        "threads": torch.get_num_threads(),
        "backend": backend,
        "seconds": {"decoding": decoding, "compiling and the first batch": opening},
        "rounds": rounds,
        "ratio": statistics.median(entry["ratio"] for entry in rounds),
        "difference": max(entry["difference"] for entry in rounds),
    }


def show(figures: dict[str, Any]) -> None:
    count = figures["images"]
    rows = [
        [
            number + 1,
            *(round(count / entry[side], 1) for side in ("regraft", "timm")),
            round(entry["ratio"], 2),
        ]
        for number, entry in enumerate(figures["rounds"])
    ]
    print_table(["round", f"regraft ({figures['backend']}), images/s", "timm eager, images/s", "ratio"], rows)
    paid = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in figures["seconds"].items())
    print(f"{count} images at {figures['size']} pixels, {figures['threads']} threads; paid once: {paid}")
    print(
        f"median ratio {figures['ratio']:.2f}; largest difference of a feature, relative to the largest "
        f"feature: {figures['difference']:.1e}"
    )


def main() -> None:
    options = parser(__doc__, "features")
    options.add_argument("--images", type=int, default=2000, help="how many photos")
    options.add_argument("--size", type=int, default=224, help="input size in pixels")
    options.add_argument("--rounds", type=int, default=3, help="how often each side runs, alternating")
    options.add_argument("--backend", default="auto", help="regraft's backend: auto, eager or openvino")
    given = options.parse_args()
    with workplace() as folder:
        os.environ["REGRAFT_CACHE"] = str(folder / "cache")
        figures = measure(given, folder)
        show(figures)
        write_results(given.json, figures)


if __name__ == "__main__":
    main()
