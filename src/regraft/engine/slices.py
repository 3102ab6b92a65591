"""Slices of a batch: where it is too big for the memory, or shared by several processes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Slice:
    """One of ``of`` slices of each of a step's batches, nearly equal and in order.

    Terms divide by counts of the whole batch, so the losses of all slices add up to the batch's loss, and so
    do their gradients (batch norm, which looks at a slice alone, and dropout apart).
    """

    index: int = 0
    of: int = 1

    def take(self, examples: np.ndarray) -> np.ndarray:
        """The slice's part of a batch; empty where the batch has fewer examples than there are slices."""
        return np.array_split(examples, self.of)[self.index]

    @property
    def key(self) -> tuple[int, ...]:
        """What a slice adds to the key of a step's randomness: nothing where it is the whole batch."""
        return () if self.of == 1 else (self.index, self.of)

    def split(self, count: int) -> tuple[Slice, ...]:
        """``count`` slices that make up this one."""
        return tuple(Slice(self.index * count + part, self.of * count) for part in range(count))


WHOLE = Slice()


def split_batch(slices: Iterable[Slice], count: int, *, batch: int, actual: int, least: int) -> list[Slice]:
    """The slices of one batch where a batch of ``batch`` examples is computed in ``count`` each.

    Parameters
    ----------
    slices
        This process's share of the batch.
    actual
        How many examples this batch has: the last one of an epoch may have more or fewer.
    least
        Examples that a slice needs at least: batch norm cannot use one.
    """
    if count == 1:
        return list(slices)
    size = -(-batch // count)
    wanted = -(-actual // size) if least == 1 else max(actual // max(size, least), 1)
    return [part for piece in slices for part in piece.split(wanted)]
