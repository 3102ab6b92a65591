"""The variance of a mean over overlapping draws, beside a plain simulation of what it stands for."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from regraft.core.overlapping import drawn_variance


def variance_of(spread: float, interaction: float, ratio: float, seeds: int) -> float:
    arrays = (np.array([value]) for value in (spread, interaction, ratio))
    return float(drawn_variance(*arrays, seeds, 0.95)[0])


@pytest.mark.parametrize("seeds", [3, 8])
def test_without_interaction_it_is_nadeau_and_bengios(seeds: int) -> None:
    plain = 2.0 * (1 / seeds + 0.5)
    assert variance_of(2.0, 0.0, 0.5, seeds) == pytest.approx(plain, rel=1e-12)
    assert variance_of(2.0, 1e-9, 0.5, seeds) == pytest.approx(plain, rel=1e-3)
    assert variance_of(2.0, 1.0, 0.0, seeds) == pytest.approx(2.0 / seeds, rel=1e-12)


@pytest.mark.parametrize(("interaction", "ratio", "seeds"), [(0.5, 1.0, 3), (1.0, 5.7, 4), (3.0, 0.3, 8)])
def test_the_width_is_the_quantile_of_what_the_truth_may_be(
    interaction: float, ratio: float, seeds: int
) -> None:
    random = np.random.default_rng(0)
    true = np.maximum(1.0 * (seeds - 1) / random.chisquare(seeds - 1, 1_000_000), interaction)
    means = random.normal(size=len(true)) * np.sqrt(true / seeds + (true - interaction) * ratio)
    half = stats.t.ppf(0.975, seeds - 1) * variance_of(1.0, interaction, ratio, seeds) ** 0.5
    assert half == pytest.approx(np.quantile(np.abs(means), 0.95), rel=0.02)


def test_few_seeds_that_look_alike_by_chance_do_not_narrow_it_to_nothing() -> None:
    """3 seeds vary no more than the test examples alone would make them: draws may still matter."""
    naive = 0.9 / 3
    assert variance_of(0.9, 1.0, 5.7, 3) > 10 * naive
    assert variance_of(0.9, 1.0, 5.7, 30) < 60 * naive / 10
