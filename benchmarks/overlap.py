"""Decoding alone, computing alone, and both at once: what overlapping them is worth.

The same photos go through `rg.features` as a user calls it: first decoded and thrown away (decoding alone),
then run from decoded pixels (computing alone), then both together, several times, side by side. The aim is
a throughput within 15% of the slower of the two alone. Where both want all cores that cannot be: the work
is then bound by the processor seconds of both, which the table states. So two more settings are measured:
computing on one thread, and computing that waits, as for a GPU (a pause in place of the network).

    python benchmarks/overlap.py
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from common import parser, photo_folder, print_table, workplace, write_results

from regraft.inference.stream import Stream
from regraft.sources import find, load_native
from regraft.targets import Items, list_items
from regraft.targets.pixel_cache import available_cores


class Waiting:
    """A backend that waits: what a device of its own looks like from here."""

    name = "waits"

    def __init__(self, seconds: float, width: int):
        self.seconds, self.width = seconds, width

    def run(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        time.sleep(self.seconds)
        return torch.zeros(len(next(iter(batch.values()))), self.width)


def spent() -> float:
    """Processor seconds of this process and of its children that have ended."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def timed(work: Callable[[], object]) -> dict[str, float]:
    start, before = time.perf_counter(), spent()
    work()
    return {"seconds": time.perf_counter() - start, "processor seconds": spent() - before}


class Bench:
    """One source and one folder of photos; a stream that is opened once."""

    def __init__(self, folder: Path, options: argparse.Namespace):
        self.source = find(options.source, size=options.size)
        self.trunk = load_native(self.source)
        self.folder = folder
        self.files = [str(path) for path in sorted(folder.rglob("*")) if path.is_file()]

    def parts(self) -> Iterator[Items]:
        return list_items(self.files, self.source.preprocessing).parts()

    def stream(self, backend: str, waiting: float = 0.0) -> Stream:
        made = Stream(self.trunk, len(self.trunk.blocks), total=len(self.files), backend=backend)
        first = list_items(self.files[:32], self.source.preprocessing).read()
        if waiting:
            made._backend = Waiting(waiting, self.trunk.width)
        made.pooled(first.inputs)  # compiles
        return made

    def decode(self) -> None:
        for part in self.parts():
            assert len(part.inputs)

    def compute(self, stream: Stream, decoded: list[Items]) -> None:
        for part in decoded:
            stream.pooled(part.inputs)

    def both(self, stream: Stream) -> None:
        for part in stream.read(self.parts()):
            stream.pooled(part.inputs)


def measure(bench: Bench, name: str, stream: Stream, options: argparse.Namespace) -> dict[str, Any]:
    decoded = list(bench.parts())
    rounds = []
    for _ in range(options.rounds):
        decode = timed(bench.decode)
        compute = timed(lambda: bench.compute(stream, decoded))
        both = timed(lambda: bench.both(stream))
        slower = max(decode["seconds"], compute["seconds"])
        cores = available_cores()
        # No schedule can be faster than the slower part, nor than all processor seconds on all cores.
        bound = max(slower, (decode["processor seconds"] + compute["processor seconds"]) / cores)
        rounds.append(
            {
                "decoding": decode,
                "computing": compute,
                "both": both,
                "in turn": decode["seconds"] + compute["seconds"],
                "bound": bound,
                "slower / both": slower / both["seconds"],
                "bound / both": bound / both["seconds"],
            }
        )
        print(f"{name}: {slower / both['seconds']:.2f} of the slower alone", flush=True)
    return {
        "setting": name,
        "backend": stream.backend_name,
        "rounds": rounds,
        "slower / both": statistics.median(one["slower / both"] for one in rounds),
        "bound / both": statistics.median(one["bound / both"] for one in rounds),
    }


def show(figures: dict[str, Any]) -> None:
    rows = []
    for one in figures["settings"]:
        middle = sorted(one["rounds"], key=lambda entry: entry["slower / both"])[len(one["rounds"]) // 2]
        seconds = [middle[part]["seconds"] for part in ("decoding", "computing", "both")]
        rows.append(
            [
                one["setting"],
                one["backend"],
                *(round(value, 2) for value in seconds),
                round(middle["bound"], 2),
                round(one["slower / both"], 2),
                round(one["bound / both"], 2),
            ]
        )
    head = ["setting", "backend", "decoding, s", "computing, s", "both, s", "bound, s", "slower / both"]
    print_table([*head, "bound / both"], rows)
    print(
        f"{figures['images']} photos at {figures['size']} pixels on {figures['cores']} cores; aim: slower / "
        "both at least 0.85. The bound is the slower part alone, or all processor seconds over all cores."
    )


def main() -> None:
    options = parser(__doc__, "overlap")
    options.add_argument("--images", type=int, default=2000, help="how many photos")
    options.add_argument("--size", type=int, default=224, help="input size in pixels")
    options.add_argument("--rounds", type=int, default=3, help="how often each is measured")
    options.add_argument("--source", default="packaged:efficientnet-lite0")
    options.add_argument("--backend", default="auto", help="auto, eager, openvino or compile")
    given = options.parse_args()
    with workplace() as folder:
        os.environ["REGRAFT_CACHE"] = str(folder / "cache")
        bench = Bench(photo_folder(folder / "photos", given.images), given)
        threads = torch.get_num_threads()
        settings = [measure(bench, f"{threads} threads", bench.stream(given.backend), given)]
        if threads > 1:
            torch.set_num_threads(1)
            settings.append(measure(bench, "1 thread", bench.stream(given.backend), given))
        decoding = statistics.median(one["decoding"]["seconds"] for one in settings[0]["rounds"])
        pause = decoding / max(len(bench.files) / 32, 1)
        settings.append(
            measure(bench, "waits as long as decoding takes", bench.stream("eager", pause), given)
        )
        figures = {
            "images": len(bench.files),
            "size": given.size,
            "cores": available_cores(),
            "settings": settings,
        }
        show(figures)
        write_results(given.json, figures)
        shutil.rmtree(folder / "cache", ignore_errors=True)


if __name__ == "__main__":
    main()
