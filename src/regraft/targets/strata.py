"""Strata: what a draw keeps in proportion: the classes of the first output that has some, or bands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from regraft.targets.target import Target

_BANDS = 10


def strata(target: Target) -> np.ndarray:
    """``int64 (N,)``: the stratum of each example, -1 where the label is missing."""
    if target.members:
        from regraft.targets.members import strata_of_each

        return strata_of_each(target)
    spec = next((spec for spec in target.tasks if spec.kind != "regression"), target.tasks[0])
    values = target._labels[spec.name]
    if spec.kind == "regression":
        return _bands(values)
    if spec.kind == "multilabel":
        return _rarest_class(values)
    return values.astype(np.int64)


def _bands(values: np.ndarray) -> np.ndarray:
    """Ten bands of equal numbers of examples, fewer where there are few examples."""
    there = ~np.isnan(values)
    count = max(1, min(_BANDS, int(there.sum()) // 10))
    edges = np.quantile(values[there], np.linspace(0, 1, count + 1)[1:-1]) if there.any() else []
    bands = np.searchsorted(edges, values, side="right").astype(np.int64)
    return np.where(there, bands, -1)


def _rarest_class(values: np.ndarray) -> np.ndarray:
    """The rarest class that an example has; examples with no class at all are one more stratum."""
    counts = np.nansum(values, axis=0)
    rank = np.where(values == 1, counts[None, :], np.inf)
    rarest = np.where((values == 1).any(axis=1), rank.argmin(axis=1), values.shape[1])
    return np.where(np.isnan(values).any(axis=1), -1, rarest).astype(np.int64)
