"""Batches of pieces whose shapes never depend on chance: one bucket, one size, padded by repetition."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from regraft.core.inputs import Inputs


@dataclass(frozen=True)
class FixedBatch:
    """``pieces`` has exactly the batch size; only the first ``count`` are meant, the rest is padding."""

    pieces: np.ndarray
    count: int


def fixed_batches(inputs: Inputs, pieces: np.ndarray, size: int) -> Iterator[FixedBatch]:
    """Batches of ``size`` pieces, bucket by bucket, short ones padded by repeating their last piece.

    A value computed in such a batch does not depend on which other examples are computed, or when.
    """
    buckets = np.asarray(inputs.buckets)[pieces]
    for bucket in np.unique(buckets):
        members = pieces[buckets == bucket]
        for start in range(0, len(members), size):
            part = members[start : start + size]
            padding = np.repeat(part[-1:], size - len(part))
            yield FixedBatch(np.concatenate([part, padding]), len(part))


def pieces_of(inputs: Inputs, examples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pieces of some examples, in the examples' order, and for each piece its example's position."""
    owners = np.asarray(inputs.owners)
    first = np.searchsorted(owners, examples, side="left")
    counts = np.searchsorted(owners, examples, side="right") - first
    positions = np.repeat(np.arange(len(examples)), counts)
    offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(first, counts) + offsets, positions
