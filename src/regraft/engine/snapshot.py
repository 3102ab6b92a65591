"""Putting tensors back as they were: after a step that failed, or after steps that were only tried."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


class Snapshot:
    """Copies of some tensors, which stay the same objects.

    Example::

        kept = Snapshot(model.buffers())
        try_something(model)
        kept.restore()
    """

    def __init__(self, tensors: Iterable[Tensor]):
        self._tensors = list(tensors)
        self._copies = [tensor.detach().clone() for tensor in self._tensors]

    def take(self) -> None:
        """Remember the values of now instead."""
        self._copy(self._tensors, self._copies)

    def restore(self) -> None:
        """Put the remembered values back, to the bit."""
        self._copy(self._copies, self._tensors)

    @staticmethod
    def _copy(source: list[Tensor], target: list[Tensor]) -> None:
        with torch.no_grad():
            for value, place in zip(source, target, strict=True):
                place.copy_(value)
