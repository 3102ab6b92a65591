"""knn: how often an example's nearest neighbours share its label."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

from regraft.core.errors import UsageError
from regraft.scores.examples import Examples

_BLOCK = 1 << 22  # similarities that are looked at together, to bound memory

Metric = Literal["cosine", "euclidean"]


def knn(examples: Examples, *, neighbours: int = 5, metric: Metric = "cosine") -> float:
    r"""Leave-one-out accuracy of the k nearest neighbours, uniformly weighted (as in arXiv:2503.18528).

    In [0, 1], higher is better; time ``N^2 D``, memory bounded. Of several classes with as many neighbours
    the one whose nearest is nearest wins. For several labels the share of right answers (half of the
    neighbours is a yes); for a regression the variance that the neighbours' mean explains, at most 1. Cosines
    are taken of the features as they come, an example of length 0 being at right angles to all; among
    examples that are equally near the first ones count, so duplicates at the edge make it depend on the
    order.

    Parameters
    ----------
    neighbours
        k, at least 1; N - 1 where there are fewer.
    metric
        ``cosine`` or ``euclidean``.
    """
    if isinstance(neighbours, bool) or neighbours < 1 or neighbours != int(neighbours):
        raise UsageError(f"a number of neighbours is whole and at least 1, as in 5; found {neighbours}")
    if metric not in ("cosine", "euclidean"):
        raise UsageError(f"neighbours are near by 'cosine' or 'euclidean'; found {metric!r}")
    count = min(int(neighbours), examples.count - 1)
    errors = [
        _errors(examples, rows, nearest)
        for rows, nearest in _nearest(examples.features.values, count, metric)
    ]
    wrong = float(np.concatenate(errors).mean())
    return 1 - wrong / float(examples.targets.var(axis=0).mean() if examples.kind == "regression" else 1.0)


def _nearest(values: np.ndarray, count: int, metric: Metric) -> Iterator[tuple[slice, np.ndarray]]:
    """Blocks of rows, and their nearest other examples ``int64 (B, k)``, nearest first."""
    if metric == "cosine":
        lengths = np.linalg.norm(values, axis=1, keepdims=True)
        values = np.divide(values, lengths, out=np.zeros_like(values), where=lengths > 0)
        halves = np.zeros(len(values))
    else:
        values = values - values.mean(axis=0)  # less of the squares cancels
        halves = np.square(values).sum(axis=1) / 2
    step = max(1, _BLOCK // len(values))
    for first in range(0, len(values), step):
        rows = slice(first, min(first + step, len(values)))
        far = halves - values[rows] @ values.T  # half the squared distance, but for the row's own half
        far[np.arange(len(far)), np.arange(rows.start, rows.stop)] = np.inf
        near = np.argpartition(far, count - 1, axis=1)[:, :count]
        near.sort(axis=1)
        order = np.argsort(np.take_along_axis(far, near, axis=1), axis=1, kind="stable")
        yield rows, np.take_along_axis(near, order, axis=1)


def _errors(examples: Examples, rows: slice, nearest: np.ndarray) -> np.ndarray:
    """``float64 (B,)``: each example's share of wrong answers; its squared error for a regression."""
    truth = examples.targets[rows]
    if examples.kind in ("binary", "multiclass"):
        return (_votes(examples.codes[nearest], examples.outputs) != examples.codes[rows]).astype(np.float64)
    said = examples.targets[nearest].mean(axis=1)
    if examples.kind == "regression":
        return np.asarray(np.square(said - truth).mean(axis=1))
    return np.asarray(((said >= 0.5) != (truth >= 0.5)).mean(axis=1))


def _votes(classes: np.ndarray, outputs: int) -> np.ndarray:
    """The class of most neighbours; of equals the one that comes first. ``classes (B, k)``, nearest first."""
    rows, count = np.arange(len(classes)), classes.shape[1]
    votes = np.zeros((len(classes), outputs))
    for place in range(count):
        votes[rows, classes[:, place]] += 1
    leading = votes[rows[:, None], classes] == votes.max(axis=1, keepdims=True)
    return np.asarray(classes[rows, leading.argmax(axis=1)])
