"""Proof: the source's own network and the linked one, run side by side on the same inputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from regraft.core.inputs import Batch
from regraft.sources import Trunk, example_batch, load_native

if TYPE_CHECKING:
    from regraft.linking.link import Link


@dataclass(frozen=True)
class Proof:
    """What running both networks showed.

    Attributes
    ----------
    proven
        Whether the pooled features agree within ``tolerance``.
    max_relative_difference
        The largest difference of a pooled feature, over the largest native feature.
    first_difference
        The first block whose output departs; None where none does.
    causes
        Likely causes; empty where none was looked for.
    differences
        The relative difference after each block, in order; only ``pooled`` where the chains are not the same.
    """

    proven: bool
    max_relative_difference: float
    first_difference: str | None
    causes: tuple[str, ...] = ()
    differences: tuple[tuple[str, float], ...] = ()
    tolerance: float = 1e-5

    @property
    def sentence(self) -> str:
        """The outcome in words."""
        largest = f"max relative difference {self.max_relative_difference:.1e}"
        if self.proven:
            return f"proven: both networks give the same features ({largest})"
        where = f", first after {self.first_difference}" if self.first_difference else ""
        return f"not proven: the features differ{where} ({largest})"

    def to_json(self) -> dict[str, Any]:
        """As plain JSON; a difference that is not finite is null."""
        data = asdict(self)
        data["differences"] = [[name, _finite(value)] for name, value in self.differences]
        data["max_relative_difference"] = _finite(self.max_relative_difference)
        return data


def prove(link: Link, batches: Sequence[Batch], *, tolerance: float) -> Proof:
    """Compare on these batches, or on made-up ones."""
    native = load_native(link.source).eval()
    linked = link.load().trunk.eval()
    batches = batches or (example_batch(link.source, count=2),)
    worst: dict[str, float] = {}
    with torch.inference_mode():
        for batch in batches:
            for name, difference in _compare(native, linked, batch):
                worst[name] = max(worst.get(name, 0.0), difference)
    final = list(worst.values())[-1]
    # Not "difference > tolerance": a difference that is not a number has to count as one.
    first = next((name for name, difference in worst.items() if not difference <= tolerance), None)
    proven = final <= tolerance
    return Proof(proven, final, None if proven else first, (), tuple(worst.items()), tolerance)


def _compare(native: Trunk, linked: Trunk, batch: Batch) -> list[tuple[str, float]]:
    if native.block_names != linked.block_names:
        return [("pooled", relative_difference(linked(batch), native(batch)))]
    differences = []
    ours: Tensor | None = None
    theirs: Tensor | None = None
    for mine, other in zip(linked.blocks, native.blocks, strict=True):
        ours = mine.run(linked.network, ours, batch)
        theirs = other.run(native.network, theirs, batch)
        differences.append((mine.name, relative_difference(ours, theirs)))
    return differences


def relative_difference(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference over the largest value of ``theirs``; infinite where shapes differ."""
    if ours.shape != theirs.shape:
        return math.inf
    difference = (ours - theirs).abs().max().item()
    scale = theirs.abs().max().item()
    if not (math.isfinite(difference) and math.isfinite(scale)):
        return math.inf
    return difference / scale if scale else (0.0 if difference == 0 else math.inf)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
