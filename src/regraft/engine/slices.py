"""Slices of a batch: where it is too big for the memory, or shared by several processes."""

from __future__ import annotations

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


WHOLE = Slice()
