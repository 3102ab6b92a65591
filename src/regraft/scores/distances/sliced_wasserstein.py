"""sliced-wasserstein: what it takes to move one domain onto the other, seen from many sides."""

from __future__ import annotations

import numpy as np

from regraft.core.errors import UsageError
from regraft.core.randomness import numpy_generator
from regraft.scores.distances.domains import Domains


def sliced_wasserstein(
    domains: Domains, *, power: float = 2.0, directions: int = 256, seed: int = 0
) -> float:
    r"""Sliced Wasserstein distance (Rabin, Peyre, Delon, Bernot 2012; Bonneel et al. 2015).

    .. math:: \left(\frac1L \sum_l W_p^p(\theta_l^T X, \theta_l^T Y)\right)^{1/p}

    over L random unit vectors, each one-dimensional distance exact by sorting, for domains of any size. In
    units of the features; time ``(N + M) (D + \log (N + M)) L``. Directions are drawn by the seed: distances
    compare if seed, number and width are the same; the standard error falls with the root of L.

    Parameters
    ----------
    power
        p, at least 1.
    directions
        L.
    """
    if power < 1 or directions < 1:
        raise UsageError(
            f"power and directions are at least 1, as in power=2, directions=256; found {power}, {directions}"
        )
    random = numpy_generator(seed, "scores: sliced wasserstein", domains.width, directions)
    sides = random.normal(size=(domains.width, directions))
    sides /= np.linalg.norm(sides, axis=0)
    middle = domains.both.mean(axis=0)
    one = np.sort((domains.source.values - middle) @ sides, axis=0)
    other = np.sort((domains.target.values - middle) @ sides, axis=0)
    return float(transport(one, other, power).mean() ** (1 / power))


def transport(one: np.ndarray, other: np.ndarray, power: float) -> np.ndarray:
    """``float64 (L,)``: W_p^p between columns ``(N, L)`` and ``(M, L)``, each sorted, rows weighing the same.

    The quantile functions are steps at multiples of 1/N and 1/M; between two of either both are constant.
    """
    n, m = len(one), len(other)
    ends = np.union1d(np.arange(1, n + 1) * m, np.arange(1, m + 1) * n)  # in units of 1 / (N M): exact
    starts = np.concatenate([[0], ends[:-1]])
    gaps = np.abs(one[starts // m] - other[starts // n]) ** power
    return np.asarray((ends - starts) / (n * m) @ gaps)
