"""Who may be the best: against a slow bootstrap, and by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from regraft.choosing.auto.chances import UNLIKELY, chances_of
from regraft.choosing.auto.scoreboard import Table


def table_of(values: np.ndarray, folds: int) -> Table:
    """Values ``(entrants, rows)`` as rows of so many folds, each example in one of them."""
    rows = values.shape[1]
    return Table(values, np.arange(rows) % folds, np.arange(rows))


def test_means_and_errors_are_those_of_a_slow_bootstrap() -> None:
    random = np.random.default_rng(0)
    values = (random.random((3, 60)) < np.array([[0.8], [0.7], [0.6]])).astype(float)
    table = Table(values, np.arange(60) % 3, np.arange(60) // 2)
    found = chances_of(table, seed=0, resamples=4000)
    means = []
    for _ in range(4000):
        examples = np.bincount(random.integers(0, 30, 30), minlength=30)
        folds = np.bincount(random.integers(0, 3, 3), minlength=3)
        weight = examples[table.examples] * folds[table.folds]
        means.append((values * weight).sum(1) / weight.sum())
    slow = np.array(means)
    assert found.mean == pytest.approx(values.mean(1))
    assert found.error == pytest.approx((slow[:, [found.leader]] - slow).std(0), rel=0.1, abs=1e-9)
    assert found.low == pytest.approx(np.quantile(slow, 0.025, axis=0), abs=0.02)
    assert found.best == pytest.approx((slow == slow.max(1, keepdims=True)).mean(0), abs=0.03)


def test_the_best_is_seldom_dropped_and_the_worst_often() -> None:
    """The best of four is 3 points ahead, the worst 20 behind: 300 experiments with training noise."""
    random = np.random.default_rng(1)
    lost = dropped = 0
    for trial in range(300):
        folds = np.arange(120) % 3
        noise = random.normal(0, 0.02, (4, 3))[:, folds]
        hard = random.random(120)  # what is hard is hard for all: values are paired
        rates = np.array([[0.80], [0.77], [0.77], [0.60]]) + noise
        own = random.random((4, 120))
        values = ((0.5 * hard + 0.5 * own) < rates).astype(float)
        best = chances_of(Table(values, folds, np.arange(120)), seed=trial, resamples=300).best
        lost += best[0] < UNLIKELY
        dropped += best[3] < UNLIKELY
    assert lost <= 0.05 * 300
    assert dropped >= 0.8 * 300


def test_equals_are_both_the_best_and_one_is_as_good_as_the_other() -> None:
    values = np.tile((np.arange(40) % 3 > 0).astype(float), (2, 1))
    found = chances_of(table_of(values, 2), seed=0, resamples=200)
    assert found.best.tolist() == [1.0, 1.0]
    assert found.as_good.tolist() == [True, True]


def test_who_is_far_behind_is_not_as_good() -> None:
    values = np.zeros((2, 80))
    values[0, :72] = 1
    values[1, :40] = 1
    found = chances_of(table_of(values, 1), seed=0, resamples=500)
    assert found.leader == 0
    assert found.as_good.tolist() == [True, False]
    assert found.best[1] < UNLIKELY
