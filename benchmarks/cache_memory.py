"""Peak memory from inputs to features and activations at a cut, for ten times the examples.

Each line is a process of its own that computes the activations of N made-up pictures at a map, far more bytes
than it may use, then the pooled features through them, then reads 50 batches in random order as a train stage
does. Peak memory is the process's largest resident set, mapped pages with it. Aim: at most 1.2 times for 10
times the examples.

    python benchmarks/cache_memory.py [--examples 2000 20000] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import common
import numpy as np

SIDE, CHANNELS = 48, 16
AIM = 1.2


class Pictures:
    """Pictures of noise, made when they are read: as inputs do that are mapped from disk."""

    def __init__(self, count: int):
        from regraft.core.hashing import hash_bytes

        self.names = [f"picture {number}" for number in range(count)]
        self.keys = [hash_bytes(name.encode()) for name in self.names]
        self.owners = np.arange(count)
        self.weights = np.ones(count, np.float32)
        self.buckets = np.zeros(count, np.int64)
        self.lengths = None

    def __len__(self) -> int:
        return len(self.names)

    def batch(self, pieces: np.ndarray, *, view: object = None) -> dict[str, Any]:
        import torch

        generators = (np.random.default_rng(int(piece)) for piece in pieces)
        pixels = np.stack([one.standard_normal((3, SIDE, SIDE), np.float32) for one in generators])
        return {"pixels": torch.from_numpy(pixels)}


def work(count: int) -> dict[str, Any]:
    """What one process does; its peak memory in megabytes before and after, and seconds."""
    import torch
    from torch import nn

    from regraft.core.preprocessing import ImagePreprocessing
    from regraft.inference import Embedder
    from regraft.inference.cache import cache_contents
    from regraft.sources import from_module
    from regraft.sources.native import load_native

    torch.manual_seed(0)
    layers = [
        nn.Conv2d(3, CHANNELS, 3),
        nn.ReLU(),
        nn.Conv2d(CHANNELS, 32, 3, stride=2),
        nn.AdaptiveAvgPool2d(1),
    ]
    source = from_module(nn.Sequential(*layers, nn.Flatten()), ImagePreprocessing(size=(SIDE, SIDE)))
    trunk, pictures, everyone = load_native(source), Pictures(count), np.arange(count)
    before, start = peak(), time.monotonic()
    prefix = Embedder(trunk, pictures, cut=2, backend="eager", limit=10**12)
    prefix.compute(everyone)
    computed = time.monotonic() - start
    whole = Embedder(trunk, pictures, cut=len(trunk.blocks), backend="eager", through=prefix, limit=10**12)
    features = whole.features(everyone)
    start = time.monotonic()
    order = np.random.default_rng(0).permutation(count)
    for place in range(50):
        prefix.activations(np.sort(order[place * 32 % count :][:32]))
    return {
        "examples": count,
        "cache_mb": sum(entry.size for entry in cache_contents()) / 1e6,
        "features": list(features.shape),
        "before_mb": before,
        "peak_mb": peak(),
        "examples_per_second": count / computed,
        "milliseconds_per_batch_read": (time.monotonic() - start) / 50 * 1e3,
    }


def peak() -> float:
    """The largest resident set so far, in megabytes."""
    scale = 1e6 if sys.platform == "darwin" else 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def main() -> None:
    options = arguments()
    if options.child is not None:
        print(json.dumps(work(options.child)))
        return
    found = []
    for count in options.examples:
        with common.workplace() as folder:
            command = [sys.executable, __file__, "--child", str(count)]
            done = subprocess.run(
                command, env=common.environment(folder), stdout=subprocess.PIPE, check=True, text=True
            )
            found.append(json.loads(done.stdout))
    ratio = found[-1]["peak_mb"] / found[0]["peak_mb"]
    columns = ("examples", "cache MB", "MB before", "peak MB", "examples/s", "ms to read a batch")
    names = (
        "examples",
        "cache_mb",
        "before_mb",
        "peak_mb",
        "examples_per_second",
        "milliseconds_per_batch_read",
    )
    common.print_table(columns, [[round(one[name], 1) for name in names] for one in found])
    times = found[-1]["examples"] / found[0]["examples"]
    print(f"peak memory for {times:g} times the examples: {ratio:.2f} (aim: at most {AIM})")
    common.write_results(options.json, {"aim": AIM, "ratio": ratio, "met": ratio <= AIM, "runs": found})


def arguments() -> argparse.Namespace:
    parser = common.parser(__doc__, "cache_memory")
    parser.add_argument("--examples", type=int, nargs=2, default=(2_000, 20_000), help="how many pictures")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
