"""Standings by hand, and what the shipped prior says."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from regraft.choosing.prior import Facts, Prior, Standing, expected, shipped

NET = Facts("imagenet-1k", 76.0, 25_000_000, 4e9, 224, "resnet")


def of_top1(top1: float) -> Facts:
    return Facts("imagenet-1k", top1, 25_000_000, 4e9, 224, "resnet")


def prior(noise: float = 0.7) -> Prior:
    """One point of accuracy is 0.2 of a normal score."""
    return Prior({"top1 labels": 1.0}, {"top1": 0.0}, {"top1": 0.1}, noise)


def test_standings_are_those_of_normal_scores() -> None:
    standings = expected([of_top1(71.0), of_top1(76.0), of_top1(81.0)], prior=prior())
    # Means -1, 0 and 1 have variance 2/3, so that 0.7 is more than what they leave open.
    draws = norm.cdf(np.random.default_rng(0).normal(size=(400_000, 1)) * np.sqrt(0.7) + [-1.0, 0.0, 1.0])
    assert [one.mean for one in standings] == pytest.approx(
        norm.cdf(np.array([-1, 0, 1]) / np.sqrt(1.7)), abs=1e-6
    )
    assert [one.spread for one in standings] == pytest.approx(draws.std(0), abs=1e-3)


def test_candidates_that_are_alike_stay_open() -> None:
    standings = expected([of_top1(76.0), of_top1(76.0)], prior=prior(noise=0.1))
    assert standings[0].mean == pytest.approx(0.5)
    assert standings[0].spread == pytest.approx(12**-0.5, abs=1e-4)  # of a number drawn evenly


def test_what_is_not_known_adds_doubt() -> None:
    known, unknown = expected([of_top1(81.0), Facts("imagenet-1k")], prior=prior(noise=0.8))
    assert known.mean > 0.5 > unknown.mean
    assert unknown.spread > expected([of_top1(81.0), of_top1(76.0)], prior=prior(noise=0.8))[1].spread


def test_the_shipped_prior() -> None:
    nothing = expected([Facts()])[0]
    assert (nothing.mean, nothing.spread) == (pytest.approx(0.5), pytest.approx(12**-0.5, abs=0.01))
    low, high = expected([of_top1(70.0), of_top1(80.0)])
    assert 0 < low.mean < 0.5 < high.mean < 1
    scratch, trained, unknown = expected([Facts("none", family="resnet"), NET, Facts()])
    assert scratch.mean < unknown.mean < trained.mean
    assert expected([]) == []


def test_the_shipped_prior_says_how_it_was_made() -> None:
    fitted = shipped().fitted
    assert fitted["tables"] > 100
    assert set(fitted["blocks"]) == set(shipped().middle) == set(shipped().doubt)
    for left_out in ("families left out", "data sets left out"):
        assert 0 < fitted[left_out]["rms error of percentile"] < 0.3
    assert Prior.from_json(shipped().to_json()) == shipped()
    assert Standing.from_json(Standing(0.5, 0.2).to_json()) == Standing(0.5, 0.2)
