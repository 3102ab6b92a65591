"""Memory that is predicted before a stage's first step, against what its steps really take.

Each case is a process of its own on one thread. Baseline is the process's resident memory when the stage
has been opened, its frozen prefix computed and its need predicted, freed blocks given back to the system.
Measured is by how much the peak of resident memory (VmHWM, set back before) exceeds that over three steps;
predicted is what `engine/memory.py` says of activations, gradients and the optimiser's state for the same
batch. Each case is run twice: with every block of memory mapped for itself, so that nothing but what is
counted is resident, and with the C library's heap as it comes, which keeps holes. Linux with glibc only.

    python benchmarks/memory_prediction.py
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import subprocess
import sys
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from common import (
    environment,
    parser,
    photo_folder,
    print_markdown,
    print_table,
    read_results,
    usual,
    workplace,
    write_results,
)
from torch import nn

import regraft as rg
from regraft.core.memory import in_bytes, used_memory
from regraft.engine import History, Settings, open_workspace
from regraft.engine.open import draw_examples, fitted_tasks
from regraft.engine.train_stage import TrainStageRun
from regraft.linking import Blueprint, find_link
from regraft.plans import TrainStage, change_plan
from regraft.sources import Source, find
from regraft.strategies import plan_for
from regraft.targets import Target, prepare

STEPS = 3


@dataclass(frozen=True)
class Case:
    """A network, what is trained of it, and the batch."""

    name: str
    source: str
    strategy: str
    batch: int
    size: int | None = None


CASES = (
    Case("EfficientNet-Lite0, full", "packaged:efficientnet-lite0", "full", 16, 224),
    Case("EfficientNet-Lite0, last 2 blocks", "packaged:efficientnet-lite0", "lpft:2", 32, 224),
    Case("EfficientNet-Lite0, lora", "packaged:efficientnet-lite0", "lora", 16, 224),
    Case("MiniLM, last layer", "packaged:minilm", "lpft:1", 32),
    Case("three convolutions, full", "small", "full", 64, 64),
)
QUICK = {"batch": 8, "size": 64}
HEAPS = {"mapped": {"MALLOC_MMAP_THRESHOLD_": "65536"}, "heap": {}}


def source_of(case: Case, size: int | None) -> Source:
    if case.source != "small":
        return find(case.source, **({} if case.size is None else {"size": size}))
    torch.manual_seed(0)
    layers = [
        nn.Sequential(nn.Conv2d(before, after, 3, 2, 1), nn.BatchNorm2d(after), nn.ReLU())
        for before, after in ((3, 32), (32, 64), (64, 128))
    ]
    return Source.from_module(
        nn.Sequential(*layers), rg.ImagePreprocessing(size=(case.size or 64,) * 2), name="small"
    )


def data_of(case: Case, folder: Path) -> Target:
    if case.size is not None:
        return Target.from_images(photo_folder(folder / "photos", 120))
    words = [f"word{n}" for n in range(16)]
    rows = [f"{' '.join(words[: 4 + n % 12])} {n},{'odd' if n % 2 else 'even'}" for n in range(160)]
    (folder / "texts.csv").write_text("body,label\n" + "\n".join(rows) + "\n")
    return Target.from_table(folder / "texts.csv", text="body", label="label")


def child(case: Case, quick: bool, folder: Path) -> dict[str, float]:
    torch.set_num_threads(1)
    batch, size = (QUICK["batch"], QUICK["size"]) if quick else (case.batch, case.size)
    source = source_of(case, size)
    prepared = prepare(data_of(case, folder), source.preprocessing, workers=1)
    tasks = fitted_tasks(prepared.target, prepared.target.draw(0))
    link = find_link(source, Blueprint(source, tuple(tasks.values())))
    changes = [f"streams.target.batch={batch}", "streams.target.views=0", "stop.epochs=1"]
    plan = change_plan(plan_for(link, case.strategy, seed=0), changes)
    settings = Settings("cpu", threads=1, backend="eager", compile="never")
    draw = draw_examples(plan, prepared.target)
    work = open_workspace(
        plan, prepared.target, prepared.inputs, {"student": link}, tasks, draw,
        settings=settings, history=History(), keep=False,
    )  # fmt: skip
    stage = plan.stages[-1]
    assert isinstance(stage, TrainStage)
    run = TrainStageRun(stage, work, None)
    need = run.guard.predict()
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = used_memory(torch.device("cpu"))
    run.freeze.set_modes(run.model)
    for _ in range(STEPS):
        run._step()
        run.standing.step += 1
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    return {"batch": batch, "predicted": need.optimiser + need.of_step(batch), "measured": peak - before}


def measure(options: Namespace) -> dict[str, Any]:
    rows = []
    for number, case in enumerate(CASES):
        found = {heap: measured_in_child(number, options.quick, extra) for heap, extra in HEAPS.items()}
        rows.append({"case": case.name, **found})
    return {"quick": options.quick, "cases": rows}


def measured_in_child(number: int, quick: bool, extra: dict[str, str]) -> dict[str, float]:
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    with workplace() as folder:
        command = [sys.executable, __file__, "--case", str(number), "--folder", str(folder)]
        command += ["--quick"] if quick else []
        around = {**environment(folder / "cache"), **one, **extra}
        done = subprocess.run(command, env=around, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{CASES[number].name} failed")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def table(figures: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    columns = ["case", "batch", "predicted", "rise, blocks mapped", "predicted / rise"]
    columns += ["rise, usual heap", "predicted / rise"]
    rows = []
    for row in figures["cases"]:
        cells = [row["case"], str(row["mapped"]["batch"]), in_bytes(row["mapped"]["predicted"])]
        for heap in HEAPS:
            rise = row[heap]["measured"]
            cells += [in_bytes(rise), f"{row[heap]['predicted'] / max(rise, 1):.2f}"]
        rows.append(cells)
    return columns, rows


def main() -> int:
    options = parser(__doc__, "memory_prediction")
    usual(options)
    options.add_argument("--case", type=int, help="measure this one here; for child processes")
    options.add_argument("--folder", type=Path, help="where the child's data lie")
    given = options.parse_args()
    if given.case is not None:
        print(json.dumps(child(CASES[given.case], given.quick, given.folder)))
        return 0
    if given.markdown:
        print_markdown(*table(read_results(given.json)))
        return 0
    if not os.path.exists("/proc/self/clear_refs"):
        raise SystemExit("the peak of resident memory can only be set back on Linux")
    figures = measure(given)
    print_table(*table(figures))
    write_results(given.json, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
