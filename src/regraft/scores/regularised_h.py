"""regularised-h: the H-score with a covariance that small samples can bear."""

from __future__ import annotations

import numpy as np

from regraft.core.linalg import Decomposition
from regraft.scores.examples import Examples


def regularised_h(examples: Examples) -> float:
    r"""Regularised H-score (Ibrahim, Ponomareva, Mazumder 2022).

    .. math:: \operatorname{tr}\left(\operatorname{cov}_\alpha(f)^{-1} (1 - \alpha)
        \operatorname{cov}(E[f \mid y])\right), \qquad
        \operatorname{cov}_\alpha = (1 - \alpha) \operatorname{cov}(f) + \alpha \mu I

    with the mean variance :math:`\mu` and the shrinkage :math:`\alpha` of Ledoit and Wolf (2004); covariances
    divide by N (published code divides one of them by N - 1: its values are N / (N - 1) times these). Higher
    is better; time of the decomposition. Constant features give 0. Of several labels the mean.
    """
    return examples.mean_over_labels(_regularised_h)


def _regularised_h(examples: Examples) -> float:
    parts, width = examples.features.decomposition, examples.features.width
    if not parts.rank:
        return 0.0
    alpha = ledoit_wolf(parts, width)
    variances = parts.s / parts.count
    between = variances * (np.square(examples.projected) / examples.counts).sum(axis=1)
    return float((1 - alpha) * (between / ((1 - alpha) * variances + alpha * variances.sum() / width)).sum())


def ledoit_wolf(parts: Decomposition, width: int) -> float:
    r"""The shrinkage in [0, 1] that Ledoit and Wolf (2004, lemma 3.3) estimate, from a decomposition.

    :math:`\min(b^2, d^2) / d^2` with :math:`d^2 = \lVert S - \mu I \rVert^2 / D` and
    :math:`b^2 = (\frac1N \sum_i \lVert x_i \rVert^4 - \lVert S \rVert^2) / (D N)`; 0 where S is a multiple of
    the identity.
    """
    variances, count = parts.s / parts.count, parts.count
    mean = variances.sum() / width
    lengths = np.square(parts.U) @ parts.s
    squares = np.square(variances).sum()
    distance = (squares - width * mean**2) / width
    noise = (np.square(lengths).sum() / count - squares) / (width * count)
    noise = min(noise, distance)
    return float(noise / distance) if noise > 0 else 0.0
