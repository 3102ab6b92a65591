"""Coverage: how much of what is shared receives source weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from regraft.linking.row import Row

if TYPE_CHECKING:
    from regraft.linking.link import Link


@dataclass(frozen=True)
class Coverage:
    """Shares between 0 and 1, over shared rows only; 0 where nothing is shared.

    Attributes
    ----------
    tensors
        Of the tensors, parameters and buffers alike.
    parameters
        Of the elements of the parameters.
    depth
        Of the trunk's blocks that hold tensors: those whose tensors all carry over.
    """

    tensors: float
    parameters: float
    depth: float

    def to_json(self) -> dict[str, float]:
        """As plain JSON."""
        return asdict(self)


@dataclass(frozen=True)
class SourceMass:
    """How many numbers the source holds in floating-point tensors, and how many of them nothing receives."""

    parameters: int
    unused: int

    @property
    def share(self) -> float:
        """The share that nothing receives, between 0 and 1; 0 for a source that holds nothing."""
        return self.unused / self.parameters if self.parameters else 0.0

    def to_json(self) -> dict[str, float]:
        """As plain JSON."""
        return {**asdict(self), "share": self.share}


def measure(rows: Iterable[Row]) -> Coverage:
    """The coverage of these rows."""
    shared = [row for row in rows if row.role == "shared"]
    blocks = {row.block for row in shared if row.block}
    broken = {row.block for row in shared if row.block and not row.carried}
    parameters = [row for row in shared if row.kind == "parameter" and not row.rule.startswith("tied to")]
    return Coverage(
        tensors=_share([1 for row in shared if row.carried], len(shared)),
        parameters=_share(
            [row.size for row in parameters if row.carried], sum(row.size for row in parameters)
        ),
        depth=_share([1 for _ in blocks - broken], len(blocks)),
    )


def measure_source(link: Link) -> SourceMass:
    """The unused mass of a link's source: its tensors are looked up for their sizes, not read."""
    weights, unused = link.origin.weights(), set(link.unused)
    sizes = {
        name: math.prod(weights.shape(name))
        for name in weights.names()
        if weights.dtype(name).is_floating_point
    }
    return SourceMass(sum(sizes.values()), sum(size for name, size in sizes.items() if name in unused))


def _share(parts: Sequence[int], whole: int) -> float:
    return sum(parts) / whole if whole else 0.0
