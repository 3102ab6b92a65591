"""Slices of a batch: where it is too big for the memory, or shared by several processes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Slice:
    """One of ``of`` slices of each of a step's batches, nearly equal and in order, or a part of one.

    Terms divide by counts of the whole batch, so the losses of all slices add up to the batch's loss, and so
    do their gradients (batch norm, which looks at a slice alone, and dropout apart).

    Attributes
    ----------
    index, of
        A process's share of the batch.
    part, parts
        What of that share is computed at once. Parts lie within the share, so that those of all processes
        make up the batch even where one of them divides its share further than another.
    """

    index: int = 0
    of: int = 1
    part: int = 0
    parts: int = 1

    def take(self, examples: np.ndarray) -> np.ndarray:
        """The slice's part of a batch; empty where the batch has fewer examples than there are slices."""
        share = np.array_split(examples, self.of)[self.index]
        return np.array_split(share, self.parts)[self.part]

    @property
    def key(self) -> tuple[int, ...]:
        """What a slice adds to the key of a step's randomness: nothing where it is the whole batch."""
        inner = () if self.parts == 1 else (self.part, self.parts)
        return inner if self.of == 1 else (self.index, self.of, *inner)

    def split(self, count: int) -> tuple[Slice, ...]:
        """``count`` slices that make up this share."""
        return tuple(Slice(self.index, self.of, part, count) for part in range(count))


WHOLE = Slice()


@dataclass(frozen=True)
class Sizes:
    """Of one stream, how many examples a process reads at a step.

    Attributes
    ----------
    usual
        As many as the plan says.
    actual
        As many as there are: the last batch of an epoch may have more or fewer.
    """

    usual: int
    actual: int


def split_batch(share: Slice, count: int, streams: Iterable[Sizes], *, least: int) -> tuple[Slice, ...]:
    """The slices of a process's share of one step where a usual share is computed in ``count``.

    No slice has more examples of any stream than ``count`` slices of a usual share, but each has ``least``
    of every stream, as batch norm needs two; where both cannot be, the latter holds.
    """
    if count == 1:
        return (share,)
    there = [sizes for sizes in streams if sizes.actual]
    wanted = max((-(-sizes.actual // -(-sizes.usual // count)) for sizes in there), default=1)
    if least > 1:
        wanted = min([wanted, *(max(sizes.actual // least, 1) for sizes in there)])
    return share.split(wanted)
