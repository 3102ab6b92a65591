"""centroid-cka: how alike examples are in the features and in the labels, from class sums alone."""

from __future__ import annotations

import numpy as np

from regraft.scores.examples import Examples


def centroid_cka(examples: Examples) -> float:
    r"""Linear centred kernel alignment with the labels' kernel (Kornblith et al. 2019; Cortes et al. 2012).

    .. math:: \frac{\lVert Y^T X \rVert_F^2}{\lVert X^T X \rVert_F \lVert Y^T Y \rVert_F}

    for centred X and Y, Y being one column of 0 and 1 for each class: two examples are alike in the labels if
    they share the class. :math:`Y^T X` are the class centroids times their counts, so the N by N kernel
    matrices of ``cka`` are never made. Between 0 and 1, higher is better; time of the decomposition, linear
    in N. It is biased upwards where D is large beside N (``cka`` has a debiased form). Constant features give
    0. Of several labels the mean.
    """
    return examples.mean_over_labels(_centroid_cka)


def _centroid_cka(examples: Examples) -> float:
    s = examples.features.decomposition.s
    if not len(s):
        return 0.0
    counts = examples.counts
    labels = np.diag(counts) - np.outer(counts, counts) / examples.count
    alike = (s[:, None] * np.square(examples.projected)).sum()
    return float(alike / (np.linalg.norm(s) * np.linalg.norm(labels)))
