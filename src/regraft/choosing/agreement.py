"""How well a ranking agrees with the accuracies that came out."""

from __future__ import annotations

import numpy as np


def weighted_tau(scores: np.ndarray, accuracies: np.ndarray) -> float:
    r"""Kendall's tau between scores and accuracies, in which mistakes at the top weigh more.

    A pair of ranks ``r`` and ``s``, counted from 0 at the top, has the weight
    :math:`1/(r + 1) + 1/(s + 1)`; the figure is the mean of that with ranks by score and that with ranks by
    accuracy (Vigna 2015, "A weighted correlation index for rankings with ties"). It is
    ``scipy.stats.weightedtau(scores, accuracies)``, the convention of SFDA (Shao et al. 2022). Scores that
    are all equal say nothing: 0.
    """
    from scipy.stats import weightedtau

    if len(set(scores.tolist())) < 2 or len(set(accuracies.tolist())) < 2:
        return 0.0
    return float(weightedtau(scores, accuracies)[0])


def top_regret(scores: np.ndarray, accuracies: np.ndarray) -> float:
    """What the candidate with the highest score lacks to the best one, in the unit of the accuracies.

    Where several share the highest score it is the mean over them.
    """
    return float(accuracies.max() - accuracies[scores == scores.max()].mean())
