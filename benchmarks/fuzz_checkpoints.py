"""Damaged and hostile checkpoints by the thousand: each is read or refused, none crashes the reader.

Small sound files of every format are mutated with a seeded generator (`fuzz_mutations.py`). Worker processes
open each of them and read all of its tensors, under a limit of memory and of time. An outcome is `read`,
`refused` (a SourceError), `library` (a SourceError, after the HDF5 library crashed in the process that it has
for itself), `memory` (a SourceError, as a tensor did not fit into what a worker may have) or `crash`: any
other exception, a signal, or no end in time. A worker that dies is replaced, and its input is named by format
and number.

    python benchmarks/fuzz_checkpoints.py                        # 200,000 inputs
    python benchmarks/fuzz_checkpoints.py --inputs 2000 --only safetensors
    python benchmarks/fuzz_checkpoints.py --show torch:17        # try this one here, with its traceback
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common import parser, print_table, workplace, write_results
from fuzz_mutations import mutate

SHARES = {
    "safetensors": 0.28,
    "sharded": 0.16,
    "torch": 0.2,
    "torch-legacy": 0.14,
    "numpy": 0.1,
    "numpy-deflated": 0.046,
    "onnx": 0.07,
    "keras": 0.004,  # a process for each
}
NAMES = {
    "safetensors": "model.safetensors",
    "sharded": "model.safetensors.index.json",
    "torch": "model.pt",
    "torch-legacy": "model.pth",
    "numpy": "model.npz",
    "numpy-deflated": "model.npz",
    "onnx": "model.onnx",
    "keras": "model.weights.h5",
}
OUTCOMES = ("read", "refused", "library", "memory", "crash")
SECONDS = 10  # for one input
SPARE = 1 << 30  # bytes that a worker may take on top of what it has when it starts
SILENCE = 150  # seconds without an outcome after which a worker is ended
COUNTS = struct.Struct("<6q")  # the next input, and how many had each outcome


def sound(kind: str, folder: Path) -> bytes:
    """A small sound file of this format; its neighbours, if it has some, are left in the folder."""
    import numpy as np
    import torch
    from safetensors.torch import save, save_file

    torch.manual_seed(0)
    state = {"stem.weight": torch.randn(4, 3), "stem.bias": torch.randn(4), "head.weight": torch.randn(2, 4)}
    state |= {"steps": torch.tensor(7), "mask": torch.tensor([True, False]), "half": torch.ones(3).half()}
    path = folder / "sound"
    if kind == "safetensors":
        return save(state, metadata={"format": "pt"})
    if kind == "sharded":
        names = sorted(state)
        shards = {"a.safetensors": names[:3], "b.safetensors": names[3:]}
        for shard, held in shards.items():
            save_file({name: state[name] for name in held}, folder / shard)
        index = {name: shard for shard, held in shards.items() for name in held}
        return json.dumps({"metadata": {"total_size": 100}, "weight_map": index}).encode()
    if kind.startswith("torch"):
        content = {"model": state, "model_ema": {"module": dict(state)}, "epoch": 3, "lr": [0.1, None]}
        torch.save(content, path, _use_new_zipfile_serialization=kind == "torch")
    elif kind.startswith("numpy"):
        arrays = {f"params/{name}": value.numpy() for name, value in state.items()}
        arrays |= {"turned": np.asfortranarray(np.eye(3)), "big": np.arange(3, dtype=">i4")}
        with open(path, "wb") as stream:
            (np.savez if kind == "numpy" else np.savez_compressed)(stream, **arrays)
    elif kind == "onnx":
        save_onnx(path, {name: value.numpy() for name, value in state.items()})
    else:
        save_keras(path)
    return path.read_bytes()


def save_onnx(path: Path, arrays: dict[str, Any]) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    tensors = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    tensors.append(helper.make_tensor("typed", TensorProto.INT64, [3], [1, -2, 3]))
    tensors.append(helper.make_tensor("floats", TensorProto.FLOAT, [2], [0.5, 1.5]))
    model = helper.make_model(helper.make_graph([], "graph", [], [], initializer=tensors))
    onnx.save(model, path)


def save_keras(path: Path) -> None:
    import h5py
    import numpy as np

    with h5py.File(path, "w") as file:
        for layer, shape in (("dense", (3, 4)), ("conv2d_1", (3, 3, 2, 4))):
            held = file.create_group(f"layers/{layer}/vars")
            held.attrs["name"] = f"my_{layer}"
            held["0"] = np.ones(shape, "f4")
            held["1"] = np.ones(shape[-1], "f4")
        chunked = np.arange(60.0).reshape(10, 6)
        file.create_dataset("packed", data=chunked, chunks=(4, 4), compression="gzip", shuffle=True)


class Material:
    """Sound files of one format in a folder, and the mutations of them by number."""

    def __init__(self, kind: str, folder: Path, seed: int):
        self.kind, self.seed = kind, seed
        self.sound = sound(kind, folder)
        self.path = folder / NAMES[kind]
        self.shards = [self.path.with_name(f"{name}.safetensors") for name in "ab" if kind == "sharded"]
        self.originals = [shard.read_bytes() for shard in self.shards]

    def write(self, number: int) -> Path:
        """Put the mutation of this number into its file; of sharded ones sometimes a shard is changed."""
        draw = random.Random(f"{self.seed}:{self.kind}:{number}")
        for shard, original in zip(self.shards, self.originals, strict=True):
            shard.write_bytes(original)
        if self.shards and draw.random() < 0.3:
            at = draw.randrange(len(self.shards))
            self.shards[at].write_bytes(mutate("safetensors", self.originals[at], draw))
            self.path.write_bytes(self.sound)
        else:
            self.path.write_bytes(mutate(self.kind, self.sound, draw))
        return self.path


class OutOfTimeError(BaseException):
    """One input took too long; no ``except Exception`` may hold it up."""


def out_of_time(*_: object) -> None:
    raise OutOfTimeError


def attempt(path: Path) -> str:
    """Open a file and read all of it; says how that ended."""
    from regraft.core.errors import SourceError
    from regraft.sources import open_checkpoint

    try:
        checkpoint = open_checkpoint(path)
        for name in checkpoint:
            checkpoint.read(name)
    except SourceError as error:
        if "library crashed" in str(error):
            return "library"
        return "memory" if "does not fit into memory" in str(error) else "refused"
    return "read"


def work(options: argparse.Namespace) -> None:
    """Try inputs from ``--start`` on, and keep the counts in a file that outlives this process."""
    import torch

    torch.set_num_threads(1)
    kind, folder = options.worker, options.folder
    material = Material(kind, folder, options.seed)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + SPARE, resource.RLIM_INFINITY))
    signal.signal(signal.SIGALRM, out_of_time)
    counts = read_counts(folder / "counts")
    with open(folder / "counts", "r+b", buffering=0) as kept, open(folder / "crashes", "a") as crashes:
        for number in range(counts["next"], options.inputs):
            path = material.write(number)
            counts["next"] = number
            os.pwrite(kept.fileno(), COUNTS.pack(*counts.values()), 0)
            signal.setitimer(signal.ITIMER_REAL, SECONDS)
            try:
                outcome = attempt(path)
            except (Exception, OutOfTimeError) as error:  # noqa: BLE001 - what is being looked for
                outcome = "crash"
                print(f"{kind}:{number} {type(error).__name__}: {error}"[:300], file=crashes, flush=True)
            signal.setitimer(signal.ITIMER_REAL, 0)
            counts[outcome] += 1
        counts["next"] = options.inputs
        os.pwrite(kept.fileno(), COUNTS.pack(*counts.values()), 0)


def run_kind(kind: str, inputs: int, seed: int, folder: Path) -> Iterator[dict[str, int]]:
    """Let workers try all inputs of a format; gives the counts every second."""
    folder.mkdir()
    kept = folder / "counts"
    kept.write_bytes(COUNTS.pack(0, *[0] * len(OUTCOMES)))
    command = [sys.executable, __file__, "--worker", kind, "--folder", str(folder)]
    command += ["--inputs", str(inputs), "--seed", str(seed)]
    while (counts := read_counts(kept))["next"] < inputs:
        child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        since, last = time.monotonic(), counts
        try:
            while child.poll() is None:
                time.sleep(0.5)
                if (counts := read_counts(kept)) != last:
                    since, last = time.monotonic(), counts
                if time.monotonic() - since > SILENCE:
                    child.kill()
                yield counts
        finally:  # also when it is interrupted
            child.kill()
            child.wait()
        counts = read_counts(kept)
        if counts["next"] < inputs:  # it died over this one
            with open(folder / "crashes", "a") as crashes:
                print(f"{kind}:{counts['next']} ended with status {child.returncode}", file=crashes)
            counts |= {"next": counts["next"] + 1, "crash": counts["crash"] + 1}
            kept.write_bytes(COUNTS.pack(*counts.values()))
    yield read_counts(kept)


def read_counts(path: Path) -> dict[str, int]:
    """The next input's number, and how many had each outcome."""
    return dict(zip(("next", *OUTCOMES), COUNTS.unpack(path.read_bytes()), strict=True))


def measure(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    shares = {kind: share for kind, share in SHARES.items() if options.only in (None, kind)}
    wanted = {kind: max(round(options.inputs * s / sum(shares.values())), 1) for kind, s in shares.items()}
    start, done, formats, crashes = time.monotonic(), 0, {}, []
    for kind, inputs in wanted.items():
        begun, counts = time.monotonic(), {}
        for counts in run_kind(kind, inputs, options.seed, work / kind):
            progress(kind, counts, inputs, time.monotonic() - begun, sum(wanted.values()) - done - inputs)
        done += inputs
        seconds = round(time.monotonic() - begun, 1)
        formats[kind] = {"inputs": inputs, **{name: counts[name] for name in OUTCOMES}, "seconds": seconds}
        written = work / kind / "crashes"
        crashes += written.read_text().splitlines() if written.exists() else []
        shutil.rmtree(work / kind)
    seconds = round(time.monotonic() - start, 1)
    return {"inputs": done, "seed": options.seed, "seconds": seconds, "formats": formats, "crashes": crashes}


def progress(kind: str, counts: dict[str, int], inputs: int, seconds: float, after: int) -> None:
    if not sys.stderr.isatty() or not counts["next"]:
        return
    left = seconds / counts["next"] * (inputs - counts["next"])
    line = f"{kind}: {counts['next']:,} of {inputs:,}, {counts['crash']} crashes, {left:.0f} s left"
    print(f"\r{line}, then {after:,} inputs of other formats   ", end="", file=sys.stderr, flush=True)


def show(named: str, seed: int, folder: Path) -> int:
    """Try one input in this process."""
    kind, _, number = named.partition(":")
    path = Material(kind, folder, seed).write(int(number))
    print(f"{path}: {attempt(path)}")
    return 0


def main() -> int:
    options = parser(__doc__, "fuzz_checkpoints")
    options.add_argument("--inputs", type=int, default=200_000, help="how many, over all formats")
    options.add_argument("--seed", type=int, default=0, help="of the mutations")
    options.add_argument("--only", choices=list(SHARES), help="one format alone")
    options.add_argument("--show", metavar="FORMAT:NUMBER", help="try one input in this process")
    options.add_argument("--worker", help=argparse.SUPPRESS)
    options.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.worker:
        work(given)
        return 0
    if os.access(
        "/dev/shm", os.W_OK
    ):  # in memory: a disk takes longer to write a file than it takes to read it
        tempfile.tempdir = "/dev/shm"
    with workplace(given.folder) as folder:
        if given.show:
            return show(given.show, given.seed, folder)
        figures = measure(given, folder)
    columns = ("inputs", *OUTCOMES, "seconds")
    print_table(
        ["format", *columns], [[k, *(row[c] for c in columns)] for k, row in figures["formats"].items()]
    )
    print("\n".join(figures["crashes"][:40]) if figures["crashes"] else "no crash")
    write_results(given.json, figures)
    return 1 if figures["crashes"] else 0


if __name__ == "__main__":
    sys.exit(main())
