"""What is thought of candidates, beside the formulas of normal distributions."""

from __future__ import annotations

import numpy as np
import pytest

from regraft.choosing.prior import Standing
from regraft.choosing.ranking.belief import SPREAD, Belief, inexact, keep, prior_of, update

FLAT = Standing(0.5, 12**-0.5)


def draws(mean: list[float], covariance: np.ndarray, *, seed: int = 0, count: int = 1000) -> np.ndarray:
    """Normal draws whose mean and covariance are exactly those asked for."""
    raw = np.random.default_rng(seed).standard_normal((count, len(mean)))
    raw -= raw.mean(axis=0)
    raw = np.linalg.solve(np.linalg.cholesky(np.cov(raw.T)), raw.T).T
    return np.asarray(raw @ np.linalg.cholesky(covariance).T + np.asarray(mean))


def test_a_stage_and_the_prior_are_combined_as_normal_distributions_are() -> None:
    sigma = np.array([[0.05, 0.03, 0.02], [0.03, 0.04, 0.01], [0.02, 0.01, 0.06]])
    T = np.diag([0.2, 0.1, 0.3])
    before = Belief(draws([0.5, 0.0, -0.5], T), np.zeros(3))
    after = update(before, draws([1.0, 1.2, 0.9], sigma, seed=1))
    # The common level is unknown: what is left are contrasts, for which the precision form is written out.
    contrast = np.array([[1.0, -1.0, 0.0], [0.0, 1.0, -1.0]])
    P, S = contrast @ T @ contrast.T, contrast @ sigma @ contrast.T
    covariance = np.linalg.inv(np.linalg.inv(P) + np.linalg.inv(S))
    mean = covariance @ (
        np.linalg.solve(P, contrast @ [0.5, 0.0, -0.5]) + np.linalg.solve(S, contrast @ [1.0, 1.2, 0.9])
    )
    np.testing.assert_allclose(contrast @ after.mean, mean, atol=0.01)
    np.testing.assert_allclose(np.cov(contrast @ after.draws.T), covariance, atol=0.02)
    assert after.mean.mean() == pytest.approx(1.03, abs=0.05)  # what was measured, not what was thought


def test_the_prior_decides_between_few_examples_and_not_between_many() -> None:
    standings = [Standing(0.9, 0.1), Standing(0.1, 0.1)]
    shared = np.full((2, 2), 0.5)
    chances = []
    for examples in (8, 100_000):
        sigma = (shared + 0.5 * np.eye(2)) * 4 / examples
        measured = draws([0.0, 0.2], sigma)
        before = prior_of(standings, measured.mean(axis=0), measured.std(axis=0))
        chances.append(float(update(before, measured).best[0]))
    assert chances[0] > 0.9
    assert chances[1] < 0.01


def test_a_source_is_not_dropped_for_a_difference_that_fine_tuning_can_turn() -> None:
    measured = draws([0.0, 0.1], 1e-4 * np.eye(2))
    before = prior_of([FLAT, FLAT], measured.mean(axis=0), measured.std(axis=0))
    assert update(before, measured).best[0] < 0.01
    assert update(before, measured, noise=0.2).best[0] > 0.2


def test_a_figure_that_is_inexact_counts_less() -> None:
    before = Belief(draws([0.0, 0.0], 0.04 * np.eye(2)), np.zeros(2))
    measured = draws([0.0, 0.4], 0.01 * np.eye(2), seed=1)
    blurred = inexact(measured, 0.3)
    np.testing.assert_allclose(np.cov(blurred.T), 0.1 * np.eye(2), atol=0.015)
    # Of the difference 0.4 a share T / (T + sigma) is believed.
    assert np.diff(update(before, measured).mean)[0] == pytest.approx(0.4 * 0.04 / 0.05, abs=0.02)
    assert np.diff(update(before, blurred).mean)[0] == pytest.approx(0.4 * 0.04 / 0.14, abs=0.02)
    np.testing.assert_array_equal(inexact(measured, 0.0), measured)


def test_probabilities_sum_to_one_and_follow_the_candidates() -> None:
    measured = draws([0.0, 0.3, -2.0], 0.05 * np.eye(3))
    belief = update(prior_of([FLAT] * 3, measured.mean(axis=0), measured.std(axis=0)), measured)
    assert belief.best.sum() == pytest.approx(1.0)
    assert belief.best[1] > belief.best[0] > belief.best[2]
    assert keep(belief, [1]).best.tolist() == [1.0]
    assert belief.beats(1, 2) > 0.99


def test_percentiles_become_the_spread_that_sources_have() -> None:
    close = prior_of([FLAT, FLAT], np.array([1.0, 1.0]), np.array([0.1, 0.1]))
    wide = prior_of([FLAT] * 5, np.array([-3.0, -1.0, 0.0, 1.0, 3.0]), np.full(5, 0.1))
    assert 0.8 * SPREAD < close.spread.mean() < 1.1 * SPREAD
    assert wide.spread.mean() > 2 * SPREAD
