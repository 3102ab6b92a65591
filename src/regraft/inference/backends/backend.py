"""What every backend has: a name, and a way to run a prefix on a batch."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from regraft.core.inputs import Batch
from regraft.sources import Trunk

TOLERANCES = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""By the numbers that are multiplied: the largest difference from eager in float32, relative to eager's
largest value, that a compiled prefix may show. bfloat16 has 8 bits of mantissa, float16 has 11."""


class Backend(Protocol):
    """Runs a prefix on one batch after the other."""

    name: str

    def run(self, batch: Batch) -> Tensor:
        """The activation at the cut, float32 and on the CPU, first dimension the pieces."""
        ...


class Prefix(nn.Module):
    """The first ``cut`` blocks as a module of positional tensors, the form that compilers want."""

    def __init__(self, trunk: Trunk, cut: int, names: tuple[str, ...]):
        super().__init__()
        self.trunk, self.cut, self.names = trunk, cut, names

    def forward(self, *tensors: Tensor) -> Tensor:
        """The activation at the cut."""
        value = self.trunk.prefix(dict(zip(self.names, tensors, strict=True)), cut=self.cut)
        assert value is not None
        return value


Shapes = tuple[tuple[int, ...], ...]


def shapes_of(batch: Batch) -> Shapes:
    """The shapes of a batch's tensors, in order: what a compiled prefix is made for."""
    return tuple(tuple(tensor.shape) for tensor in batch.values())
