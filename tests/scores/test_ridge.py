"""The grid of penalties, its log-loss, and what is told about every example."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from regraft.core.errors import UsageError
from regraft.scores import Examples, find_score, ridge
from regraft.scores.sharpness import Calibration
from regraft.terms.solvers.temperature import fit_sharpness
from tests.scores import slow
from tests.scores.problems import one_hot, problem


@pytest.mark.parametrize("scale", [1.0, 40.0])
def test_the_log_loss_is_the_least_of_any_sharpness(scale: float) -> None:
    """Beside a bounded search of the same objective, and beside what calibrates a probe."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 4, 500)
    outputs = one_hot(labels) / scale + random.normal(size=(500, 4)) / scale
    softened = (1 - 1 / 502) * one_hot(labels) + 1 / 502 / 4

    def loss(log_factor: float) -> float:
        return -float((softened * log_softmax(np.exp(log_factor) * outputs, axis=1)).sum(1).mean())

    calibration = Calibration(outputs, labels)
    factor, value = calibration.fit()
    best = minimize_scalar(loss, bounds=(-6, 6), method="bounded", options={"xatol": 1e-10})
    np.testing.assert_allclose(np.log(factor), best.x, atol=1e-5)
    expected = fit_sharpness(outputs.T, one_hot(labels).T, exclusive=True)
    np.testing.assert_allclose(factor, expected[0], rtol=1e-7)
    np.testing.assert_allclose(value, expected[1], rtol=1e-9)
    np.testing.assert_allclose(calibration.fit(start=factor * 50), (factor, value), rtol=1e-7)


def test_a_perfect_predictor_has_a_finite_sharpness() -> None:
    labels = np.array([0, 1, 0, 1])
    calibration = Calibration(one_hot(labels).astype(float), labels)
    factor, loss = calibration.fit()
    assert np.isfinite(factor)
    assert loss < 0.2


def test_the_whole_grid_is_that_of_slow_outputs() -> None:
    features, labels = problem(40, 5, 3, signal=0.5)
    found = ridge(Examples.of(features, labels))
    for penalty, loss in zip(found.penalties[::4], found.log_loss[::4], strict=True):
        outputs = slow.ridge(features, one_hot(labels), penalty)
        expected = fit_sharpness(outputs.T, one_hot(labels).T, exclusive=True)[1]
        np.testing.assert_allclose(loss, expected, atol=1e-8)
    assert found.least_log_loss == found.log_loss.min()
    assert found.accuracy == found.quality.max()
    assert np.isnan(ridge(Examples.of(features, labels), log_loss=False).log_loss).all()


def test_the_log_loss_of_several_labels_is_that_of_their_own_sigmoids() -> None:
    features, labels = problem(40, 5, 3, signal=0.5)
    several = np.stack([labels == 0, labels != 2], axis=1).astype(float)
    found = ridge(Examples.of(features, several, kind="multilabel"), penalties=[1.0])
    outputs = slow.ridge(features, several, 1.0) - 0.5
    expected = [
        fit_sharpness(outputs[:, at][None], several[:, at][None], exclusive=False)[1] for at in range(2)
    ]
    np.testing.assert_allclose(found.log_loss, [np.mean(expected)], atol=1e-7)


def test_among_equals_the_strongest_penalty_is_best() -> None:
    features, labels = problem(40, 5, 2, signal=50.0)
    found = ridge(Examples.of(features, labels))
    assert found.quality[found.best] == found.quality.max() == 1.0
    assert (found.quality[: found.best] < 1).all()
    np.testing.assert_array_equal(found.held_out.argmax(1), labels)


@pytest.mark.parametrize("penalties", [[], [0.0], [-1.0], [float("inf")]])
def test_penalties_are_positive(penalties: list[float]) -> None:
    examples = Examples.of(*problem(20, 3, 2))
    with pytest.raises(UsageError, match=r"positive penalties, as in \[0.01, 1, 100\]"):
        ridge(examples, penalties=penalties)


def test_a_regression_has_no_log_loss() -> None:
    features, _ = problem(20, 3, 2)
    examples = Examples.of(features, features[:, 0], kind="regression")
    with pytest.raises(
        UsageError, match="cannot be computed: it is there for binary, multiclass, multilabel"
    ):
        find_score("ridge-log-loss").of(examples)
