"""gbc: how little the classes overlap when each is taken for a normal distribution."""

from __future__ import annotations

from typing import Literal

import numpy as np

from regraft.core.errors import UsageError
from regraft.scores.examples import Examples

_LEAST_VARIANCE = 1e-4

Gaussian = Literal["spherical", "diagonal"]


def gbc(examples: Examples, *, gaussian: Gaussian = "spherical", width: int | None = None) -> float:
    r"""Gaussian Bhattacharyya coefficient (Pandy, Agostinelli, Uijlings, Ferrari, Mensink 2022).

    .. math:: -\sum_{c \neq d} \exp(-B_{cd}), \qquad B_{cd} = \tfrac18 (\mu_c - \mu_d)^T \Sigma^{-1}
        (\mu_c - \mu_d) + \tfrac12 \ln \frac{\det \Sigma}{\sqrt{\det \Sigma_c \det \Sigma_d}},
        \quad \Sigma = \tfrac12 (\Sigma_c + \Sigma_d)

    over ordered pairs of classes. At most 0, higher is better; time ``N R + C^2 R``.

    Parameters
    ----------
    gaussian
        ``spherical``: one variance for each class, the mean over features; ``diagonal``: one for each
        feature. None is below 1e-4. The authors' code takes the determinant of a spherical class for that of
        a single feature (its logarithm is not multiplied by D): there values differ, for diagonal ones they
        agree.
    width
        Principal components that are looked at: the paper's 64; all features if None. With hundreds of
        features nearly all terms vanish and the score is 0 for every source.

    A class of one example has the least variance. Constant features give ``-C (C - 1)``. Of several labels
    the mean.
    """
    if gaussian not in ("spherical", "diagonal"):
        raise UsageError(f"classes are 'spherical' or 'diagonal' for gbc; found {gaussian!r}")
    if width is not None:
        examples = examples.with_features(examples.features.principal(width))
    return examples.mean_over_labels(_spherical if gaussian == "spherical" else _diagonal)


def _spherical(examples: Examples) -> float:
    width, means = examples.features.width, examples.class_means
    variances = np.maximum(class_scatter(examples) / (examples.counts * width), _LEAST_VARIANCE)
    together = (variances[:, None] + variances) / 2
    lengths = np.square(means).sum(axis=1)
    apart = np.maximum(lengths[:, None] + lengths - 2 * means @ means.T, 0.0)
    logs = np.log(together) - (np.log(variances)[:, None] + np.log(variances)) / 2
    overlap = np.exp(-apart / (8 * together) - width * logs / 2)
    return float(np.trace(overlap) - overlap.sum())


def class_scatter(examples: Examples) -> np.ndarray:
    """``float64 (C,)``: summed squared distances of each class's examples from its mean."""
    U, s = examples.features.decomposition.U, examples.features.decomposition.s
    return np.array([(np.square(U[rows] - U[rows].mean(axis=0)) @ s).sum() for rows in examples.by_class])


def _diagonal(examples: Examples) -> float:
    values = examples.features.values
    means = np.stack([values[rows].mean(axis=0) for rows in examples.by_class])
    variances = np.stack(
        [np.maximum(values[rows].var(axis=0), _LEAST_VARIANCE) for rows in examples.by_class]
    )
    logs = np.log(variances).sum(axis=1)
    total = 0.0
    for mean, variance, log in zip(means, variances, logs, strict=True):
        together = (variance + variances) / 2
        distance = (np.square(mean - means) / together).sum(axis=1) / 8
        distance += (np.log(together).sum(axis=1) - (log + logs) / 2) / 2
        total += float(np.exp(-distance).sum()) - 1
    return -total
