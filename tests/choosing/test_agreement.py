"""Weighted tau beside a sum over pairs, regret by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import weightedtau

from regraft.choosing.agreement import top_regret, weighted_tau


def slowly(scores: np.ndarray, accuracies: np.ndarray) -> float:
    """The definition, pair by pair, for values without ties."""
    found = []
    for ranked in (scores, accuracies):
        weights = 1.0 / (1 + np.argsort(np.argsort(-ranked)))
        total = agreed = 0.0
        for i in range(len(scores)):
            for j in range(i):
                same = np.sign(scores[i] - scores[j]) * np.sign(accuracies[i] - accuracies[j])
                agreed += same * (weights[i] + weights[j])
                total += weights[i] + weights[j]
        found.append(agreed / total)
    return float(np.mean(found))


@pytest.mark.parametrize("seed", range(3))
def test_weighted_tau_is_the_sum_over_pairs(seed: int) -> None:
    scores, accuracies = np.random.default_rng(seed).normal(size=(2, 9))
    assert weighted_tau(scores, accuracies) == pytest.approx(slowly(scores, accuracies))
    assert weighted_tau(scores, accuracies) == weightedtau(scores, accuracies)[0]


def test_weighted_tau_by_hand() -> None:
    # Only the lower two are swapped: weights 3/2, 4/3 and 5/6, of which the last one counts against.
    swapped = weighted_tau(np.array([3.0, 2.0, 1.0]), np.array([9.0, 5.0, 7.0]))
    assert swapped == pytest.approx((3 / 2 + 4 / 3 - 5 / 6) / (3 / 2 + 4 / 3 + 5 / 6))
    assert weighted_tau(np.array([1.0, 1.0]), np.array([1.0, 2.0])) == 0.0


def test_regret_by_hand() -> None:
    accuracies = np.array([70.0, 80.0, 74.0])
    assert top_regret(np.array([1.0, 3.0, 2.0]), accuracies) == 0.0
    assert top_regret(np.array([3.0, 1.0, 2.0]), accuracies) == 10.0
    assert top_regret(np.array([3.0, 1.0, 3.0]), accuracies) == 8.0
