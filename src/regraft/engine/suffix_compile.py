"""``torch.compile`` for what a stage trains, where its steps repay it.

What is compiled is the trunk behind the cut, for the shape of the stage's first batch; batches of other
shapes (the last one of an epoch), heads, pooling and validation run eagerly. Whether it is done follows from
counts alone, those of the whole stage, so that a resumed run decides alike.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from regraft.core.console import say
from regraft.core.files import cache_folder
from regraft.core.inputs import Batch
from regraft.core.randomness import torch_randomness
from regraft.engine.processes.lockstep import has_drawn
from regraft.engine.snapshot import Snapshot
from regraft.inference import LazyBatch
from regraft.inference.backends.backend import TOLERANCES
from regraft.inference.backends.inductor import cpp_compiler
from regraft.sources import Trunk

if TYPE_CHECKING:
    from regraft.engine.train_stage import TrainStageRun

REPAID = {"cpu": 5e13, "cuda": 1e17}
"""Multiply-adds of all of a stage's steps, forward and backward, from which compiling repays itself.

Measured on one thread of a busy machine with EfficientNet-Lite0 and 8 images of 224 pixels. Behind
``blocks.14``: 40 s to compile, and steps of 5.8e9 multiply-adds in 35 ms instead of 46, repaid after 2e13;
the figure is twice that, because other layers gain less. The whole network: 268 s to compile, and 1.07 s
for a step instead of 1.01, so on a CPU ``auto`` compiles only what stands behind a frozen prefix. On CUDA
there is no figure of our own: two minutes against a third of a step at 3e15 a second, which is more than it
does.
"""
FEWEST = 1000
"""Examples, over all steps, below which nothing is counted: no network repays compiling there."""

Shapes = tuple[tuple[int, ...], ...]


class CompiledSuffix:
    """The trunk behind ``cut``, compiled for one shape; what has another one runs eagerly."""

    def __init__(self, trunk: Trunk, cut: int):
        self.trunk, self.cut = trunk, cut
        self._shapes: Shapes | None = None
        self._reads = True
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder() / "compiled" / "inductor"))

        def suffix(activation: Tensor | None, inputs: Batch) -> Tensor:
            return trunk.suffix(activation, inputs, cut=cut)

        # Random numbers come from torch's own generator, seeded for each step, so that they repeat.
        self._run: Callable[..., Tensor] = torch.compile(
            suffix, dynamic=False, options={"fallback_random": True}
        )

    def __call__(self, activation: Tensor | None, inputs: LazyBatch) -> Tensor:
        """As ``trunk.suffix``; the first call fixes the shape."""
        if self._shapes is None:
            self._settle(activation, inputs)
        batch = {name: inputs[name] for name in inputs} if self._reads else {}
        if _shapes(activation, batch) != self._shapes:
            return self.trunk.suffix(activation, inputs, cut=self.cut)
        return self._run(activation, batch)

    def _settle(self, activation: Tensor | None, inputs: LazyBatch) -> None:
        """Find out whether anything behind the cut reads the inputs: reading them costs."""
        if activation is not None:
            asked: list[bool] = []

            def read() -> Batch:
                asked.append(True)
                return dict(inputs)

            with torch.no_grad():
                self.trunk.suffix(activation, LazyBatch(read), cut=self.cut)
            self._reads = bool(asked)
        self._shapes = _shapes(activation, dict(inputs) if self._reads else {})


def _shapes(activation: Tensor | None, batch: Batch) -> Shapes:
    tensors = ([] if activation is None else [activation]) + list(batch.values())
    return tuple(tuple(tensor.shape) for tensor in tensors)


def compile_suffix(run: TrainStageRun) -> None:
    """Compile what a stage trains where it is wanted, repays itself and equals eager; else leave it as it is.

    What was decided stands in the stage's checkpoints and, with its reason, in the run's notes.
    """
    standing = run.standing
    first = standing.compiled is None
    if first:
        standing.compiled = _wanted(run)
    if not standing.compiled:
        return
    problem = _try(run)
    failed = run.work.processes.agree([float(bool(problem))])[0] > 0
    if failed:
        run.use_suffix(None)
        standing.compiled = False
        problem = problem or "another process could not"
        note = f"Stage {run.stage.name!r} trains eagerly: its layers were to be compiled, but {problem}."
        if not first:
            note += " It was compiled before, so its bits are no longer those of an uninterrupted run."
        run.work.tell(run.stage.name, standing.step, "compile", note, compiled=False)
    elif first:
        note = f"Stage {run.stage.name!r} trains compiled layers, checked against eager on its first batch."
        run.work.tell(run.stage.name, standing.step, "compile", note, compiled=True)


def _wanted(run: TrainStageRun) -> bool:
    """Whether to try: by what was asked for, else by counts."""
    chosen = run.work.settings.compile
    if chosen == "never":
        return False
    if run.forward.keep:
        if chosen == "always":
            say("A term reads what stands between the trained layers; the stage trains eagerly.")
        return False
    if run.work.settings.sharding != "none":
        if chosen == "always":
            say("Divided weights are not compiled; the stage trains eagerly.")
        return False
    if run.combining.separate:
        if chosen == "always":
            say("Compiled layers give one gradient, not one for each term; the stage trains eagerly.")
        return False
    if chosen == "always":
        return True
    device, steps = run.work.device.type, run.total_steps
    if steps is None or device not in REPAID:
        return False
    if device == "cpu" and (run.freeze.cut == 0 or cpp_compiler() is None):
        return False
    examples = steps * run.stage.optimiser.accumulate * run.leading.batch
    return examples >= FEWEST and examples * work_of_example(run) >= REPAID[device] and _one_shape(run)


def _one_shape(run: TrainStageRun) -> bool:
    """Whether all batches of the stage but an epoch's last have one shape."""
    return len(set(run.work.inputs.buckets)) == 1


def work_of_example(run: TrainStageRun) -> float:
    """Multiply-adds of a step, forward and backward, for one example of the leading stream."""
    with FlopCounterMode(display=False) as counter:
        run.guard.try_step(2)
    return counter.get_total_flops() / 2 / 2  # two operations each, two examples


def _try(run: TrainStageRun) -> str:
    """Compile and compare with eager on the stage's first batch; what is wrong in words, or nothing."""
    if run.work.device.type == "cpu" and cpp_compiler() is None:
        return "there is no C++ compiler (install g++, or name one by CXX)"
    kept = Snapshot(buffers_of=run.model)
    precision = {"bfloat16": torch.bfloat16, "float16": torch.float16}
    tolerance = TOLERANCES[precision.get(run.work.settings.precision, torch.float32)]
    try:
        *eager, drawn = _gradients(run)
        kept.restore()
        if drawn:  # dropout: compiled layers draw other masks, so both are compared without any
            *eager, _ = _gradients(run, draw=False)
        with _quiet():
            run.use_suffix(CompiledSuffix(run.model.trunk, run.freeze.cut))
            *compiled, _ = _gradients(run, draw=not drawn)
            if drawn:
                _gradients(run)  # compiles what training runs
    except Exception as error:  # noqa: BLE001 - compilers fail in many ways, and eager does not need them
        return f"this failed: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
    finally:
        kept.restore()
        run.optimiser.zero_grad(set_to_none=True)
    apart = max(_apart(one, other) for one, other in zip(compiled, eager, strict=True))
    return "" if apart <= tolerance else f"it departs from eager by {apart:.1e} (relative)"


def _gradients(run: TrainStageRun, *, draw: bool = True) -> tuple[Tensor, Tensor, bool]:
    """Loss and gradient of the first piece of the stage's first batch, and whether random numbers were drawn.

    In the modes of training; without ``draw``, in ``eval()``.
    """
    run.freeze.set_modes(run.model) if draw else run.model.eval()
    run.optimiser.zero_grad(set_to_none=True)
    piece = run.guard.pieces(0)[0]
    with torch_randomness(run.work.draw.seed, "step", 0, *piece.key):
        loss = run.objective(0, 0.0, piece)
        loss.backward()
        drawn = has_drawn(run.work.device)
    found = [p.grad.reshape(-1) for p in run.model.parameters() if p.grad is not None]
    return loss.detach(), torch.cat(found).clone(), drawn


def _apart(value: Tensor, reference: Tensor) -> float:
    """How far two values are apart, relative to the second one; infinite where either is not finite."""
    if value.shape != reference.shape or not bool(torch.isfinite(value).all()):
        return float("inf")
    return float((value - reference).norm()) / (float(reference.norm()) or 1.0)


@contextmanager
def _quiet() -> Iterator[None]:
    """``torch.compile`` warns about its own deprecated parts while it compiles."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
