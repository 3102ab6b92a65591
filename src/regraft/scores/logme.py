"""logme: the evidence of a Bayesian linear model on the features."""

from __future__ import annotations

import numpy as np

from regraft.scores.examples import Examples
from regraft.scores.uncentred import Uncentred

_EPSILON = 1e-5  # the authors', beside squared lengths
_STEPS = 11
_TOLERANCE = 1e-3


def logme(examples: Examples) -> float:
    r"""LogME (You, Liu, Wang, Long 2021), for classification and regression.

    Targets are ``y = X w + noise``, weights of precision :math:`\alpha`, noise of precision :math:`\beta`;
    the score is the largest log evidence per example, its mean over classes (one column of 0 and 1 each),
    labels or regression values:

    .. math:: \frac1N \left(-\tfrac12 \ln\det(I + \tfrac\beta\alpha X X^T) + \tfrac N2 \ln\beta
        - \tfrac\beta2 \lVert y - X m \rVert^2 - \tfrac\alpha2 \lVert m \rVert^2 - \tfrac N2 \ln 2\pi\right)

    maximised by the fixed point of You et al. (2022, algorithm 3), vectorised over the targets: with t =
    alpha / beta and gamma = sum_j sigma_j / (sigma_j + t), :math:`\alpha = \gamma / \lVert m \rVert^2` and
    :math:`\beta = (N - \gamma) / \lVert y - X m \rVert^2`. Starting point, stopping rule and the 1e-5 beside
    squared lengths are the authors', so where their code is right (features of full rank, D <= N) values
    agree. Where the rank is below D that code leaves out :math:`-\frac{D - k}{2} \ln\alpha`, which flatters
    wide networks; here nothing is left out. Features are not centred, as in the paper.

    Higher is better; time of the decomposition, then ``R K`` a step. It depends on the scale of regression
    targets. Features that are all 0 leave noise alone.
    """
    return float(evidence(examples).mean())


def evidence(examples: Examples) -> np.ndarray:
    """``float64 (K,)``: the log evidence per example of each column of the targets."""
    targets, count = examples.targets, examples.count
    model = Uncentred.of(examples.features.decomposition)
    lengths = np.square(targets).sum(axis=0)
    if model.vanishes:
        beta = count / (lengths + _EPSILON)
        return (np.log(beta) - beta * lengths / count - np.log(2 * np.pi)) / 2
    projected = examples.projected
    mean = targets.sum(axis=0) / np.sqrt(count)
    rest = np.maximum(lengths - np.square(projected).sum(axis=0) - np.square(mean), 0.0)
    alpha, beta, weight, residual = _fixed_point(model, projected, mean, rest)
    both = alpha * weight + beta * residual + model.log_determinant(alpha / beta)
    return np.asarray((count * (np.log(beta) - np.log(2 * np.pi)) - both) / (2 * count))


def _fixed_point(
    model: Uncentred, projected: np.ndarray, mean: np.ndarray, rest: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Precisions of weights and noise, and the squared lengths of weights and residuals, ``(K,)`` each."""
    alpha, beta, weight, residual = (np.ones(len(mean)) for _ in range(4))
    moving = np.arange(len(mean))
    for _ in range(_STEPS):
        t = alpha[moving] / beta[moving]
        fit = model.shrunk(projected[:, moving], mean[moving], rest[moving], t)
        weight[moving], residual[moving] = fit.weight, fit.residual
        alpha[moving] = fit.effective / (fit.weight + _EPSILON)
        beta[moving] = fit.room / (fit.residual + _EPSILON)
        moving = moving[np.abs(alpha[moving] / beta[moving] - t) > _TOLERANCE * t]
        if not len(moving):
            break
    return alpha, beta, weight, residual
