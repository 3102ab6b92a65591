"""Labels and source probabilities as they come, checked and in one form."""

from __future__ import annotations

import numpy as np

from regraft.core.errors import DataError, UsageError
from regraft.core.task_spec import TaskKind

_SUM_TOLERANCE = 1e-3  # what a softmax in half precision leaves


def read_targets(labels: np.ndarray, kind: TaskKind, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows that have a label, and their targets ``float64 (N, K)``, see :class:`regraft.scores.Examples`."""
    if len(labels) != count or labels.ndim not in (1, 2):
        raise UsageError(f"{count} examples need one label each, found labels of shape {labels.shape}")
    if kind in ("binary", "multiclass"):
        return _classes(labels)
    return _columns(labels.astype(np.float64).reshape(count, -1), kind)


def _classes(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if labels.ndim != 1 or (labels != labels.astype(np.int64)).any():
        raise UsageError(
            f"classes are whole numbers (N,), -1 where missing; found {labels.dtype} {labels.shape}"
        )
    rows = np.flatnonzero(labels >= 0)
    names, codes = np.unique(labels[rows], return_inverse=True)
    if len(names) < 2:
        raise DataError(
            f"scores compare classes: {len(rows)} labelled examples hold {len(names)}; "
            "label some of another one"
        )
    return rows, np.eye(len(names))[codes]


def _columns(values: np.ndarray, kind: TaskKind) -> tuple[np.ndarray, np.ndarray]:
    rows = np.flatnonzero(~np.isnan(values).any(axis=1))
    values = values[rows]
    if len(rows) < 2:
        raise DataError(f"scores need at least 2 labelled examples, found {len(rows)}; label more of them")
    if not np.isfinite(values).all():
        raise DataError("labels of a regression are finite, or NaN where missing; found infinite ones")
    if kind == "multilabel" and not np.isin(values, (0, 1)).all():
        raise DataError(f"labels of a multi-label task are 0 or 1, NaN where missing; found {values.max():g}")
    varying = np.flatnonzero((values != values[0]).any(axis=0))
    if not len(varying):
        raise DataError(f"the labels of all {len(rows)} examples are the same; there is nothing to predict")
    return rows, values[:, varying]


def read_probabilities(values: np.ndarray, count: int) -> np.ndarray:
    """``float64 (N, Z)``, not negative, rows that sum to 1 up to rounding."""
    if values.ndim != 2 or len(values) != count:
        raise UsageError(f"{count} examples need a row of source probabilities each, found {values.shape}")
    wide = values.astype(np.float64)
    off = np.flatnonzero(~(np.isfinite(wide).all(axis=1) & (np.abs(wide.sum(axis=1) - 1) <= _SUM_TOLERANCE)))
    if len(off) or (wide < 0).any():
        raise DataError(
            "source probabilities are not negative and sum to 1 in every row (a softmax, no logits); "
            f"row {off[0] if len(off) else np.flatnonzero((wide < 0).any(axis=1))[0]} does not"
        )
    return wide
