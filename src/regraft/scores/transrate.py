"""transrate: how many nats fewer the features need once the class is known."""

from __future__ import annotations

import numpy as np

from regraft.core.errors import UsageError
from regraft.scores.examples import Examples


def transrate(examples: Examples, *, distortion: float = 1e-4) -> float:
    r"""TransRate (Huang, Huang, Rong, Yang, Wei 2022), a mutual information by coding rates.

    .. math:: R(Z) - \frac1C \sum_c R(Z_c), \qquad
        R(Z) = \tfrac12 \ln\det\left(I + \frac{1}{n \epsilon} Z^T Z\right)

    for the centred features Z and the rows :math:`Z_c` of each class, n being their number; ``distortion`` is
    the paper's :math:`\epsilon`. Higher is better; time of the decomposition, then ``R N^2 / C``. It depends
    on the features' scale: the paper's sources have much the same. All classes count equally, however many
    examples they have. Constant features give 0. Of several labels the mean.
    """
    if not distortion > 0:
        raise UsageError(
            f"the distortion of transrate is positive, as in distortion=1e-4; found {distortion}"
        )
    return examples.mean_over_labels(lambda one: _transrate(one, distortion))


def _transrate(examples: Examples, distortion: float) -> float:
    parts = examples.features.decomposition
    whole = np.log1p(parts.s / (parts.count * distortion)).sum() / 2
    lengths = np.sqrt(parts.s)
    rates = [_coding_rate(parts.U[rows] * lengths, distortion) for rows in examples.by_class]
    return float(whole - np.mean(rates))


def _coding_rate(rows: np.ndarray, distortion: float) -> float:
    small = rows @ rows.T if len(rows) < rows.shape[1] else rows.T @ rows
    factor = np.linalg.cholesky(np.eye(len(small)) + small / (len(rows) * distortion))
    return float(np.log(np.diag(factor)).sum())
