"""The memory that a train stage will need, known before its first step.

A step is run on two and on four examples while every tensor that it makes is counted, from its birth to its
death. Both runs go through the same moments, and what is alive at each of them is a line in the number of
examples; the highest line is what a batch of any size takes. What training adds once (the optimiser's state,
copies of the best weights) follows from the parameters.

That is what tensors take: where the C library maps every block for itself, resident memory rises by 0.97 to 1
times as much (``benchmarks/memory_prediction.py``). Its usual heap keeps holes between blocks below 32 MB:
with them the rise is 1.25 times as much for steps of gigabytes, and up to 130 MB more for small ones. What a
stage may plan with leaves room for that.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from regraft.core.errors import TrainingError
from regraft.core.memory import in_bytes, is_out_of_memory
from regraft.plans import OptimiserSpec, Plan, TrainStage

PROBES = (2, 4)
"""Sizes of the two batches that are tried; batch norm in training mode cannot use one example."""
SHARE = 0.75
"""Share of the free memory that a stage may plan with: the rest is for holes and the system."""


class TensorCounter(TorchDispatchMode):
    """Counts the bytes of all tensors that are made inside the block and not yet dropped.

    ``moments`` has their sum after every operation. A convolution on a CPU also copies what it reads and
    writes into a layout of its own, which is no tensor: so much is added while it runs.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.moments: list[int] = [0]
        self._live = 0
        self._known: dict[int, weakref.finalize] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count what it made."""
        made = func(*args, **(kwargs or {}))
        given = {_storage(leaf)._cdata for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor) and _storage(leaf)._cdata not in given:
                self._count(_storage(leaf))
        copied = _cpu_bytes((args, made)) if "convolution" in func.overloadpacket.__name__ else 0
        self.moments.append(self._live + copied)
        return made

    def _count(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._live += size
        self._known[key] = weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._live -= size
        self._known.pop(key, None)


def _cpu_bytes(values: Any) -> int:
    tensors = [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor) and leaf.device.type == "cpu"]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _storage(tensor: Tensor) -> Any:
    return tensor.untyped_storage()


@dataclass(frozen=True)
class MemoryNeed:
    """What a train stage takes beyond what its model and data take already, in bytes.

    Attributes
    ----------
    optimiser
        The optimiser's state: two numbers for each trained parameter with AdamW, one with momentum.
    copies
        The best weights so far, while they are replaced, and moving averages.
    step
        The moments of a step, gradients with it: each has a fixed part and one for each example.
    """

    optimiser: int
    copies: int
    step: tuple[tuple[float, float], ...]

    def of(self, examples: int) -> int:
        """All of it for steps over ``examples`` examples at a time."""
        return self.optimiser + self.copies + self.of_step(examples)

    def of_step(self, examples: int) -> int:
        """What a step over so many examples takes at its highest moment: activations and gradients."""
        return round(max(fixed + each * examples for fixed, each in self.step))

    def in_words(self, examples: int) -> str:
        """The figures, for people."""
        return (
            f"{in_bytes(self.of_step(examples))} for activations and gradients of {examples} at a time, "
            f"{in_bytes(self.optimiser)} for the optimiser, {in_bytes(self.copies)} for copies of weights"
        )


def measure_need(
    step: Callable[[int], None], trained: Iterable[Tensor], *, states: int, copies: int
) -> MemoryNeed:
    """Measure a stage's need with two small steps.

    Parameters
    ----------
    step
        Runs forward and backward over so many examples and drops the gradients.
    trained
        The trained parameters.
    states
        Numbers that the optimiser keeps for each of them.
    copies
        How many copies of all of them are kept.
    """
    size = sum(tensor.numel() * tensor.element_size() for tensor in trained)
    few, more = (_moments(step, count) for count in PROBES)
    if len(few) != len(more):  # a network that does other things with more examples: the peaks alone compare
        few, more = [max(few)], [max(more)]
    lines = []
    for low, high in zip(few, more, strict=True):
        each = max((high - low) / (PROBES[1] - PROBES[0]), 0.0)
        lines.append((low - PROBES[0] * each, each))
    return MemoryNeed(states * size, copies * size, _highest(lines))


def optimiser_states(spec: OptimiserSpec) -> int:
    """Numbers that an optimiser keeps for each trained parameter."""
    return 2 if spec.name == "adamw" else int(spec.momentum > 0)


def weight_copies(stage: TrainStage, plan: Plan) -> int:
    """The best weights, of which two copies are there while one replaces the other, and averages."""
    averages = sum(spec.average_of == stage.model for spec in plan.models.values())
    return 2 * (stage.stop.keep == "best") + averages


def _moments(step: Callable[[int], None], count: int) -> list[int]:
    with TensorCounter() as counter:
        step(count)
    return counter.moments


def _highest(lines: list[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Lines ``(fixed, each)`` that none is above in both numbers, steepest first."""
    kept: list[tuple[float, float]] = []
    for fixed, each in sorted(lines, key=lambda line: (-line[1], -line[0])):
        if not kept or fixed > kept[-1][0]:
            kept.append((fixed, each))
    return tuple(kept)


def slices_that_fit(
    need: MemoryNeed, room: int, *, batch: int, most: int, start: int = 1, paired: bool = False
) -> int | None:
    """In how many slices a batch has to be computed so that it fits; None where nothing fits.

    ``room`` is what is free in bytes, ``most`` the largest number of slices, and ``start`` the one to begin
    with. Where examples are ``paired`` a slice computes as many again, which the whole batch holds already.
    """
    count = start
    while need.of(-(-batch // count) * (1 + (paired and count > 1))) > SHARE * room:
        if count >= most:
            return None
        count = min(2 * count, most)
    return count


def too_big(need: MemoryNeed | None, room: int, stage: str, least: int) -> TrainingError:
    """The error for a stage of which not even the smallest slice fits."""
    wanted = f"about {in_bytes(need.of(least))} ({need.in_words(least)})" if need else "more"
    return TrainingError(
        f"stage {stage!r} does not fit in memory even with {least} example{'s' * (least > 1)} at a time: it "
        f"needs {wanted}, and {in_bytes(room)} are free. Train fewer layers behind a frozen prefix "
        "(--strategy lpft:1, or --set frozen_prefix=BLOCK with trainable), use a smaller --size, a smaller "
        "source, or a machine with more memory"
    )


def try_need(measure: Callable[[], MemoryNeed]) -> MemoryNeed | None:
    """What ``measure`` finds, or None where the memory ran out while it was measuring."""
    try:
        return measure()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    return None
