"""sfda: how well classes separate in a Fisher space, once hard examples have been made harder."""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.special import softmax

from regraft.scores.examples import Examples

_LEAST_SHRINKAGE = 1e-10
_EPS = float(np.finfo(np.float64).eps)


def sfda(examples: Examples) -> float:
    r"""Self-challenging Fisher discriminant analysis (Shao, Zhao, Ge, Zhang, Yang, Wang, Shan, Luo 2022).

    1. Class probabilities p by linear discriminants with the within-class scatter
       :math:`(1 - \alpha) S_w + \alpha \frac{\operatorname{tr} S_w}{D} I`,
       :math:`\alpha = \max(e^{-5 \sigma(S_w)}, 10^{-10})`, sigma being its largest eigenvalue.
    2. Each example moves towards the mean of the other classes' means by ``1 - q``, where q is its class's
    entry
       of softmax(p): the less sure it is, the further.
    3. The score is the mean probability of the true class by discriminants of the moved examples, with the
       same alpha.

    In (0, 1], higher is better; time of the decomposition and ``N R^2``. As in the authors' code, and unlike
    in the paper, no logarithm is taken. That code finds sigma by three steps of a power iteration: where
    these have not settled and alpha is above its floor, values differ a little. Where D is near N the scatter
    is singular and alpha decides. Constant features give the mean share of an example's class. Of several
    labels the mean.
    """
    return examples.mean_over_labels(_sfda)


def _sfda(examples: Examples) -> float:
    features = examples.features
    if not features.decomposition.rank:
        return float(np.square(examples.counts / examples.count).sum())
    values, means = features.components, examples.class_means
    within = _within(examples, np.diag(features.decomposition.s), means)
    alpha = max(float(np.exp(-5 * np.linalg.eigvalsh(within)[-1])), _LEAST_SHRINKAGE)
    chosen = (np.arange(examples.count), examples.codes)
    sure = softmax(_posterior(examples, values, means, within, alpha), axis=1)[chosen][:, None]
    others = (means.sum(axis=0) - means) / (examples.outputs - 1)
    moved = sure * values + (1 - sure) * others[examples.codes]
    moved_means = np.asarray(examples.membership @ moved) / examples.counts[:, None]
    within = _within(examples, moved.T @ moved, moved_means)
    said = _posterior(examples, moved, moved_means, within, alpha)
    return float(said[chosen].mean())


def _within(examples: Examples, gram: np.ndarray, means: np.ndarray) -> np.ndarray:
    """``float64 (R, R)``: the mean scatter within classes, out of that around 0."""
    scaled = means * np.sqrt(examples.counts)[:, None]
    return np.asarray((gram - scaled.T @ scaled) / examples.count)


def _posterior(
    examples: Examples, values: np.ndarray, means: np.ndarray, within: np.ndarray, alpha: float
) -> np.ndarray:
    """``float64 (N, C)``: class probabilities by linear discriminants."""
    # The mean variance is over all D features; where classes do not vary, rounding's share of all variation.
    spread = max(np.trace(within), _EPS * examples.features.decomposition.s.sum() / examples.count)
    shrunk = (1 - alpha) * within
    shrunk[np.diag_indices_from(shrunk)] += alpha * spread / examples.features.width
    coefficients = cho_solve(cho_factor(shrunk), means.T)
    priors = np.log(examples.counts / examples.count)
    return np.asarray(
        softmax(values @ coefficients + priors - (means.T * coefficients).sum(axis=0) / 2, axis=1)
    )
