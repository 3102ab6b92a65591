"""parc: whether examples that look alike to the source have the same label."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from regraft.core.errors import UsageError
from regraft.scores.examples import Examples


def parc(examples: Examples, *, width: int | None = None) -> float:
    r"""Pairwise annotation representation comparison (Bolya, Mittapalli, Hoffman 2021).

    Spearman's correlation, over all pairs of examples, between ``1 - r`` of their features (each feature
    standardised, r being Pearson's correlation across features) and ``1 - r`` of their labels in columns of 0
    and 1. In [-1, 1], higher is better (the authors multiply by 100, and rank
    labels that are equally alike by their rounding errors: values part in the third digit). Time ``N^2 (D +
    log N)``, memory ``N^2``: made for some hundred examples, the paper's being 500. It is no function of
    distances alone: turning the features changes it. An example whose features are all alike is taken for
    unrelated to all others; features without any variation give 0. Of several labels the mean.

    Parameters
    ----------
    width
        Principal components that are looked at: the paper's 32; all features if None.
    """
    if examples.count < 3:
        raise UsageError(f"parc compares pairs of examples: at least 3 are needed, found {examples.count}")
    if width is not None:
        examples = examples.with_features(examples.features.principal(width))
    upper = np.triu_indices(examples.count, 1)
    ranks = rankdata(_unlike(_standardised(examples.features.values))[upper])
    return examples.mean_over_labels(lambda one: _correlation(ranks, rankdata(_unlike(one.targets)[upper])))


def _standardised(values: np.ndarray) -> np.ndarray:
    centred = values - values.mean(axis=0)
    spread = np.sqrt(np.square(centred).mean(axis=0))
    # What rounding leaves of a column of equal numbers is no variation.
    least = 10 * np.finfo(np.float64).eps * np.abs(values).max(axis=0)
    return np.divide(centred, spread, out=np.zeros_like(centred), where=spread > least)


def _unlike(values: np.ndarray) -> np.ndarray:
    """``float64 (N, N)``: one minus the correlation of every two rows, 1 where one of them does not vary."""
    centred = values - values.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    least = 10 * np.finfo(np.float64).eps * np.abs(values).max(axis=1, keepdims=True)
    unit = np.divide(centred, lengths, out=np.zeros_like(centred), where=lengths > least)
    # Rounding must not part pairs that are equally alike: ranks would tell them apart.
    return np.asarray(np.round(1 - unit @ unit.T, 12))


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    first, second = first - first.mean(), second - second.mean()
    scale = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / scale if scale > 0 else 0.0
