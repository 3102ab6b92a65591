"""Many experiments at once say what each says by itself, and what scipy says."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from regraft.core.paired import decisions, intervals, two_way
from regraft.core.statistics import (
    TestPart,
    decide,
    detectable,
    equivalence_test,
    estimate,
    sign_flip_test,
    t_test,
)

RANDOM = np.random.default_rng(0)
TABLES = (
    RANDOM.normal(0.3, 1, (30, 5, 1)) + RANDOM.normal(0, 1, (30, 1, 40)) + RANDOM.normal(size=(30, 5, 40))
)


def test_each_experiment_is_judged_as_by_itself() -> None:
    values = TABLES.mean(axis=-1)
    shared, interaction = two_way(TABLES)
    found = intervals(values, overlap=0.4, shared=shared, interaction=interaction, count=40)
    said = decisions(found, 0.1)
    assert set(said) >= {"HELPED", "INCONCLUSIVE"}
    for at, table in enumerate(TABLES):
        alone = estimate(values[at].tolist(), overlap=0.4, test=TestPart.of_examples(table))
        assert (found.low[at], found.high[at]) == pytest.approx((alone.low, alone.high))
        assert found.degrees[at] == pytest.approx(alone.degrees)
        assert said[at] == decide(alone, 0.1)


def test_the_two_way_table_is_that_of_its_residuals() -> None:
    table = TABLES[0]
    rest = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
    shared, interaction = two_way(table)
    assert interaction == pytest.approx((rest**2).sum() / (4 * 39) / 40)
    assert shared == pytest.approx(table.mean(0).var(ddof=1) / 40)


def test_paired_seeds_are_scipys() -> None:
    one, other = RANDOM.normal(0.7, 0.1, 8), RANDOM.normal(0.65, 0.1, 8)
    found = estimate((one - other).tolist())
    paired = stats.ttest_rel(one, other)
    interval = paired.confidence_interval(0.95)
    assert t_test(found) == pytest.approx(paired.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    flipped = stats.permutation_test(
        (one - other,), np.sum, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )
    assert sign_flip_test((one - other).tolist()) == pytest.approx(flipped.pvalue)
    sides = [
        stats.ttest_1samp(one - other, -0.1, alternative="greater").pvalue,
        stats.ttest_1samp(one - other, 0.1, alternative="less").pvalue,
    ]
    assert equivalence_test(found, 0.1) == pytest.approx(max(sides))


def test_a_detectable_difference_is_detected_four_times_in_five() -> None:
    """With the noncentral t distribution; the usual sum of two quantiles is a little off at few seeds."""
    error, seeds = 0.01, 12
    series = np.array([-1.0, 1.0] * (seeds // 2))
    series *= error * seeds**0.5 / series.std(ddof=1)
    size = detectable(estimate(series.tolist()), 0.005)
    power = stats.nct.sf(stats.t.ppf(0.975, seeds - 1), seeds - 1, (size - 0.005) / error)
    assert power == pytest.approx(0.8, abs=0.02)
