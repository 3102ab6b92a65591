"""Comparing what two networks give: how far apart it is, and whether there is anything to compare."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor


def relative_difference(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference over the largest value of ``theirs``.

    Infinite where shapes differ, where a value is not a number or not finite, and where there are no values.
    """
    if ours.shape != theirs.shape or ours.numel() == 0:
        return math.inf
    ours, theirs = ours.detach().double(), theirs.detach().double()
    difference = (ours - theirs).abs().max().item()
    scale = theirs.abs().max().item()
    if not (math.isfinite(difference) and math.isfinite(scale)):
        return math.inf
    return difference / scale if scale else (0.0 if difference == 0 else math.inf)


def located_difference(ours: Tensor, theirs: Tensor) -> float | None:
    """The relative difference with axes in whichever order fits best; None where their sizes differ.

    For finding where two networks part only: channels may come first in one and last in the other, and a map
    of one may be the tokens of the other.
    """
    if ours.numel() != theirs.numel():
        return None
    if ours.shape == theirs.shape:
        return relative_difference(ours, theirs)
    return min(relative_difference(ours, other) for other in _layouts(theirs, ours.shape))


def _layouts(tensor: Tensor, shape: torch.Size) -> Iterator[Tensor]:
    yield tensor.reshape(shape)
    lengths = [length for length in tensor.shape if length != 1]
    small = tensor.reshape(lengths)
    if small.ndim > 4:
        return
    for order in itertools.permutations(range(small.ndim)):
        if order != tuple(range(small.ndim)):
            yield small.permute(order).reshape(shape)


def spread_of(examples: Sequence[Tensor]) -> float:
    """How much these values, one or more batches of them, depend on the input.

    The largest difference between an example and the first one, over the largest value; over all values where
    there is one example only. Zero for zeros and for constants: two networks that agree in such values have
    shown nothing.
    """
    rows = [tensor.detach().double().flatten(1) for tensor in examples if tensor.ndim > 1]
    rows = [row for row in rows if row.shape[1] == rows[0].shape[1]]
    every = torch.cat(rows) if rows else torch.cat([one.detach().double().reshape(-1, 1) for one in examples])
    if every.numel() == 0:
        return 0.0
    if every.shape[0] == 1:
        every = every.reshape(-1, 1)
    scale = every.abs().max().item()
    return (every - every[:1]).abs().max().item() / scale if scale else 0.0
