"""The variance of a mean over overlapping draws, beside a plain simulation of what it stands for."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from regraft.core.overlapping import half_widths


def half_of(spread: float, interaction: float, ratio: float, shared: float, seeds: int) -> float:
    arrays = (np.array([value]) for value in (spread, interaction, ratio, shared))
    return float(half_widths(*arrays, seeds=seeds, count=100_000, level=0.95)[0])


@pytest.mark.parametrize("seeds", [3, 8])
def test_without_a_test_part_it_is_nadeau_and_bengios(seeds: int) -> None:
    plain = stats.t.ppf(0.975, seeds - 1) * (2.0 * (1 / seeds + 0.5)) ** 0.5
    assert half_of(2.0, 0.0, 0.5, 0.0, seeds) == pytest.approx(plain, rel=1e-12)
    assert half_of(2.0, 1e-9, 0.5, 1e-12, seeds) == pytest.approx(plain, rel=2e-3)


@pytest.mark.parametrize(
    ("interaction", "ratio", "shared", "seeds"),
    [(0.5, 1.0, 0.0, 3), (1.0, 5.7, 0.3, 4), (3.0, 0.3, 0.1, 8), (0.5, 0.0, 1.0, 3)],
)
def test_the_width_is_the_quantile_of_what_the_truth_may_be(
    interaction: float, ratio: float, shared: float, seeds: int
) -> None:
    random = np.random.default_rng(0)
    true = 1.0 * (seeds - 1) / random.chisquare(seeds - 1, 1_000_000)
    true = np.maximum(true, interaction) if ratio else true
    variance = true / seeds + (true - interaction) * ratio + shared
    means = random.normal(size=len(true)) * np.sqrt(variance)
    found = half_of(1.0, interaction, ratio, shared, seeds)
    assert found == pytest.approx(np.quantile(np.abs(means), 0.95), rel=0.02)


def test_few_seeds_that_look_alike_by_chance_do_not_narrow_it_to_nothing() -> None:
    """3 seeds vary no more than the test examples alone would make them: draws may still matter."""
    assert half_of(0.9, 1.0, 5.7, 0.0, 3) > 2 * stats.t.ppf(0.975, 2) * (0.9 / 3) ** 0.5
    assert half_of(0.9, 1.0, 5.7, 0.0, 30) < half_of(0.9, 1.0, 5.7, 0.0, 3) / 4
