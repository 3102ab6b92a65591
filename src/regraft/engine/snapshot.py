"""Putting tensors back as they were: after a step that failed, or after steps that were only tried."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class Snapshot:
    """Copies of some tensors, and of all buffers of a model.

    Example::

        kept = Snapshot(buffers_of=model)
        try_something(model)
        kept.restore()

    Parameters
    ----------
    tensors
        Tensors that stay the same objects.
    buffers_of
        A model, whose code may also put new tensors in its buffers' places. A buffer that has another shape
        by then, as a table that grew, is left as it is.
    """

    def __init__(self, tensors: Iterable[Tensor] = (), *, buffers_of: nn.Module | None = None):
        self._tensors = list(tensors)
        modules = buffers_of.modules() if buffers_of is not None else ()
        self._places = [(module, name) for module in modules for name in module._buffers]
        self._copies: list[Tensor] = []
        self.take()

    def take(self) -> None:
        """Remember the values of now instead."""
        self._buffers = [module._buffers.get(name) for module, name in self._places]
        there = self._remembered()
        if self._fit(there):
            self._copy(there, self._copies)
        else:
            self._copies = [value.detach().clone() for value in there]

    def restore(self) -> None:
        """Put the remembered values back, to the bit."""
        for (module, name), buffer in zip(self._places, self._buffers, strict=True):
            now = module._buffers.get(name)
            if now is not buffer and now is not None and buffer is not None and now.shape == buffer.shape:
                module._buffers[name] = buffer
        self._copy(self._copies, self._remembered())

    def _remembered(self) -> list[Tensor]:
        return [*self._tensors, *(buffer for buffer in self._buffers if buffer is not None)]

    def _fit(self, there: list[Tensor]) -> bool:
        """Whether the copies can take the values of these tensors."""
        return len(there) == len(self._copies) and all(
            (one.shape, one.dtype, one.device) == (other.shape, other.dtype, other.device)
            for one, other in zip(there, self._copies, strict=True)
        )

    @staticmethod
    def _copy(source: list[Tensor], target: list[Tensor]) -> None:
        with torch.no_grad():
            for value, place in zip(source, target, strict=True):
                place.copy_(value)
