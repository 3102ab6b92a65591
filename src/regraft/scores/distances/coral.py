"""coral: how differently the features of two domains vary together."""

from __future__ import annotations

import numpy as np

from regraft.scores.distances.domains import Domains


def coral(domains: Domains) -> float:
    r"""CORAL distance (Sun and Saenko 2016, equation 1).

    .. math:: \frac{1}{4 D^2} \lVert C_s - C_t \rVert_F^2

    with covariances that divide by N - 1. At least 0; time ``(N + M) D^2``. It does not see means, depends on
    the features' scale to the fourth power, and noise alone gives more than 0.
    """
    gap = _covariance(domains.source.values) - _covariance(domains.target.values)
    return float(np.square(gap).sum() / (4 * domains.width**2))


def _covariance(values: np.ndarray) -> np.ndarray:
    centred = values - values.mean(axis=0)
    return np.asarray(centred.T @ centred / (len(values) - 1))
