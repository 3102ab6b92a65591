"""n-leep: LEEP for sources without a head, clusters of the features being its classes."""

from __future__ import annotations

import warnings
from typing import Literal

import numpy as np

from regraft.core.errors import UsageError
from regraft.core.linalg import Decomposition
from regraft.core.randomness import random_key
from regraft.scores.examples import Examples
from regraft.scores.leep import log_expected_prediction


def n_leep(
    examples: Examples,
    *,
    per_class: int = 5,
    energy: float = 0.8,
    covariance: Literal["full", "tied", "diag", "spherical"] = "full",
    seed: int = 0,
) -> float:
    r"""N-LEEP (Li, Jia, Sang, Zhu, Green, Wang, Gong 2021).

    LEEP with the responsibilities of a Gaussian mixture in place of the source's probabilities, fitted to the
    principal components that hold 80% of the variance. At most 0, higher is better. By far the dearest score:
    expectation-maximisation with ``5 C`` full covariances, ``N R^2 C`` a step. It depends on how the mixture
    begins: one seed for a comparison. Mixtures that stop before they have settled are used as they are, as
    the papers do. Constant features give minus the entropy of the classes. Of several labels the mean.

    Parameters
    ----------
    per_class
        Components of the mixture for each class; no more in all than half of the examples.
    energy
        The share of the variance that is kept, in (0, 1].
    covariance
        Of each component, as scikit-learn names them. ``diag`` is faster by far and no longer the paper's.
    """
    if per_class < 1 or not 0 < energy <= 1:
        raise UsageError(
            "n-leep has at least 1 component a class and keeps a share of the variance in (0, 1]; "
            f"found per_class={per_class}, energy={energy}"
        )
    if not examples.features.decomposition.rank:
        return examples.mean_over_labels(lambda one: log_expected_prediction(one, np.ones((one.count, 1))))
    kept = _kept(examples.features.decomposition, energy)
    space = examples.features.components[:, :kept]

    def one_task(one: Examples) -> float:
        clusters = max(1, min(per_class * one.outputs, one.count // 2))
        return log_expected_prediction(one, _responsibilities(space, clusters, covariance, seed))

    return examples.mean_over_labels(one_task)


def _kept(parts: Decomposition, energy: float) -> int:
    """How many components hold the share ``energy`` of the variance."""
    shares = np.cumsum(parts.s) / parts.s.sum()
    return min(int(np.searchsorted(shares, energy, side="right")) + 1, parts.rank)


def _responsibilities(space: np.ndarray, clusters: int, covariance: str, seed: int) -> np.ndarray:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    state = random_key(seed, "scores: n-leep") % (1 << 32)
    mixture = GaussianMixture(clusters, covariance_type=covariance, random_state=state)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return np.asarray(mixture.fit(space).predict_proba(space))
