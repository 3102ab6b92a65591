"""h: the share of the features' variation that lies between classes."""

from __future__ import annotations

import numpy as np

from regraft.scores.examples import Examples


def h_score(examples: Examples) -> float:
    r"""H-score (Bao et al. 2019).

    .. math:: \operatorname{tr}\left(\operatorname{cov}(f)^{+} \operatorname{cov}(E[f \mid y])\right)
        = \sum_c \frac{\lVert U^T 1_c \rVert^2}{n_c}

    with the left singular vectors U of the centred features. Between 0 and C - 1, higher is better; time of
    the decomposition. It only grows with directions and saturates at C - 1 where D >= N - 1, so among wide
    features and few examples it says nothing: see ``regularised-h``. Directions below rounding are left out,
    constant features give 0. Of several labels the mean.
    """
    return examples.mean_over_labels(_h)


def _h(examples: Examples) -> float:
    return float((np.square(examples.projected).sum(axis=0) / examples.counts).sum())
