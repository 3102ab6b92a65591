"""rbf-mmd: whether two domains differ in any way that a Gaussian kernel sees."""

from __future__ import annotations

import numpy as np

from regraft.core.errors import UsageError
from regraft.core.randomness import numpy_generator
from regraft.scores.distances.domains import Domains

_FOR_THE_MEDIAN = 2000
_BLOCK = 1 << 22  # kernel values that are held together, to bound memory


def rbf_mmd(domains: Domains, *, bandwidth: float = 1.0) -> float:
    r"""Squared maximum mean discrepancy with a Gaussian kernel, unbiased (Gretton et al. 2012, equation 3).

    .. math:: \frac{1}{N (N-1)} \sum_{i \neq j} k(x_i, x_j) + \frac{1}{M (M-1)} \sum_{i \neq j} k(y_i, y_j)
        - \frac{2}{N M} \sum_{i, j} k(x_i, y_j), \qquad k = e^{-d^2 / 2 \sigma^2}

    At most 2, about 0 and possibly negative for equal domains; time ``(N + M)^2 D``, memory bounded. Two
    domains that hold one and the same point give 0.

    Parameters
    ----------
    bandwidth
        sigma in medians of the distances between examples of both domains (of 2,000 of them, drawn once,
        where there are more).
    """
    if not bandwidth > 0:
        raise UsageError(f"a bandwidth is positive, as in bandwidth=1.0; found {bandwidth}")
    middle = domains.both.mean(axis=0)  # less of the squares cancels
    source, target = domains.source.values - middle, domains.target.values - middle
    scale = 2 * (bandwidth * median_distance(domains.both - middle)) ** 2
    if scale == 0:
        return 0.0
    n, m = len(source), len(target)
    inside = (_kernel_sum(source, source, scale) - n) / (n * (n - 1))
    inside += (_kernel_sum(target, target, scale) - m) / (m * (m - 1))
    return inside - 2 * _kernel_sum(source, target, scale) / (n * m)


def median_distance(values: np.ndarray) -> float:
    """The median distance between two examples, the mean one where most are the same; of a draw of many."""
    if len(values) > _FOR_THE_MEDIAN:
        rows = numpy_generator(0, "scores: median distance").choice(
            len(values), _FOR_THE_MEDIAN, replace=False
        )
        values = values[rows]
    distances = np.sqrt(squared_distances(values, values))[np.triu_indices(len(values), 1)]
    return float(np.median(distances)) or float(distances.mean())


def squared_distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """``float64 (A, B)`` between the rows of two matrices; what rounding leaves of none is 0."""
    lengths, others = np.square(one).sum(axis=1), np.square(other).sum(axis=1)
    found = lengths[:, None] + others - 2 * one @ other.T
    least = 10 * np.finfo(np.float64).eps * (lengths[:, None] + others)
    return np.where(found > least, found, 0.0)


def _kernel_sum(one: np.ndarray, other: np.ndarray, scale: float) -> float:
    step = max(1, _BLOCK // len(other))
    blocks = (one[first : first + step] for first in range(0, len(one), step))
    return sum(float(np.exp(-squared_distances(block, other) / scale).sum()) for block in blocks)
