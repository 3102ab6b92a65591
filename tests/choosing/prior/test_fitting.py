"""The fit beside scikit-learn's ridge, and beside what made the data."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from regraft.choosing.prior import Facts
from regraft.choosing.prior.fitting import Table, fit, normal_scores, percentiles


def net(top1: float | None, pretraining: str = "imagenet-1k") -> Facts:
    return Facts(pretraining, top1)


def test_percentiles_and_normal_scores() -> None:
    assert percentiles(np.array([3.0, 1.0, 2.0, 2.0])).tolist() == [0.875, 0.125, 0.5, 0.5]
    assert normal_scores(np.array([1.0, 2.0])) == pytest.approx([-0.6744898, 0.6744898])


def test_the_fit_is_ridge_regression_within_tables() -> None:
    rng = np.random.default_rng(0)
    accuracies = [rng.uniform(60, 80, 7), rng.uniform(60, 80, 5)]
    tables = [
        Table("b", str(i), ("m",) * len(a), tuple(net(float(t)) for t in rng.uniform(65, 80, len(a))), a)
        for i, a in enumerate(accuracies)
    ]
    x = [np.array([[(f.top1 - 77) / 5] for f in t.facts if f.top1 is not None]) for t in tables]
    y = [normal_scores(a) for a in accuracies]
    ridge = Ridge(alpha=2.0, fit_intercept=False)
    ridge.fit(np.concatenate([one - one.mean(0) for one in x]), np.concatenate(y))
    found = fit(tables, blocks=("top1",), penalty=2.0)
    assert found.weights["top1 labels"] == pytest.approx(ridge.coef_[0])
    sums = np.concatenate(x)[:, 0] * ridge.coef_[0]
    assert found.middle["top1"] == pytest.approx(sums.mean())
    assert found.doubt["top1"] == pytest.approx(sums.var())


def test_an_unknown_accuracy_counts_as_the_mean() -> None:
    facts = (net(70.0), net(None), net(80.0))
    table = Table("b", "d", ("a", "b", "c"), facts, np.array([1.0, 2.0, 3.0]))
    stated = Table("b", "d", ("a", "b", "c"), (net(70.0), net(75.0), net(80.0)), table.accuracies)
    one, other = (fit([each], blocks=("top1",), penalty=1.0) for each in (table, stated))
    assert one.weights == pytest.approx(other.weights)
    assert one.score(net(None)).mean == pytest.approx(one.score(net(75.0)).mean)


def test_a_large_table_weighs_no_more_than_thirty_models() -> None:
    rng = np.random.default_rng(0)
    facts = tuple(net(float(t)) for t in rng.uniform(65, 80, 60))
    large = Table("b", "d", ("m",) * 60, facts, rng.uniform(size=60))
    twice = fit([large, large], blocks=("top1",), penalty=4.0)
    assert fit([large], blocks=("top1",), penalty=2.0).weights == pytest.approx(twice.weights)


def test_models_can_be_left_out() -> None:
    table = Table("b", "d", ("a", "b", "c", "d"), (net(1.0), net(2.0), net(3.0), net(4.0)), np.arange(4.0))
    left = table.without([False, True, False, False])
    assert left is not None
    assert (left.models, left.accuracies.tolist()) == (("a", "c", "d"), [0.0, 2.0, 3.0])
    assert table.without([True, True, False, False]) is None
