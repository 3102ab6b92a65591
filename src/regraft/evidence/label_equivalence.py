r"""How many labels one arm needs to do as well as another: from paired learning curves, with an interval.

Both curves (error against labels) are made monotone by isotonic regression (Barlow and others 1972) and
joined by straight lines over the logarithm of the number of labels. Where the strategy at L labels has the
error e, the other arm needs the fewest labels at which its curve is no more than e. What lies outside of the
labels that were measured is said to lie there, and not extrapolated.

The interval is a bootstrap of whole seeds, the same for all arms and points, crossed with resamples of the
test examples. A bootstrap of n seeds varies by :math:`s^2 (n-1)/n^2`; each point's deviations are stretched
so that they vary by :math:`s^2 (1/n + \rho/(1-\rho))`, as intervals over overlapping draws do
(:mod:`regraft.core.statistics`), and by the ratio of the quantiles of t and normal, since n is small.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from regraft.core.randomness import numpy_generator

_RESAMPLES = 2000
_LEVEL = 0.95


@dataclass(frozen=True)
class Curve:
    """An arm at several numbers of labels, as losses: smaller is better.

    Attributes
    ----------
    labels
        Ascending ``(points,)``.
    values
        ``(points, seeds)``.
    resampled
        The same on resamples of the test part ``(points, seeds, resamples)``, shared by all arms and points.
    overlaps
        What draws share at each point ``(points,)``, 0 to below 1.
    """

    labels: np.ndarray
    values: np.ndarray
    resampled: np.ndarray
    overlaps: np.ndarray


@dataclass(frozen=True)
class Ratio:
    """Times as many labels: -inf for fewer than measured, inf for more; ``low`` and ``high`` likewise."""

    value: float
    low: float
    high: float


def label_ratios(strategy: Curve, other: Curve, *, seed: int = 0) -> list[Ratio]:
    """For each point of the strategy's curve how many times its labels the other arm needs to match it."""
    drawn = numpy_generator(seed, "label equivalence", strategy.values.shape[1]).integers(
        0, strategy.values.shape[1], (_RESAMPLES, strategy.values.shape[1])
    )
    best = _needed(strategy.labels, strategy.values.mean(1)[None], other.labels, other.values.mean(1)[None])[
        0
    ]
    bootstrapped = _needed(
        strategy.labels, _resampled(strategy, drawn), other.labels, _resampled(other, drawn)
    )
    side = (1 - _LEVEL) / 2
    low, high = np.quantile(bootstrapped, [side, 1 - side], axis=0, method="inverted_cdf")
    return [
        Ratio(*map(_power, (value, min(value, bottom), max(value, top))))
        for value, bottom, top in zip(best, low, high, strict=True)
    ]


def _power(logarithm: float) -> float:
    return float(np.exp(logarithm)) if np.isfinite(logarithm) else float(logarithm)


def _resampled(curve: Curve, drawn: np.ndarray) -> np.ndarray:
    """Mean losses of each bootstrap ``(resamples, points)``."""
    from scipy.stats import norm, t

    seeds = drawn.shape[1]
    mean = curve.values.mean(axis=1)
    deviations = (curve.values - mean[:, None])[:, drawn].mean(axis=-1)
    wanted = 1 / seeds + curve.overlaps / (1 - curve.overlaps)
    small = t.ppf((1 + _LEVEL) / 2, seeds - 1) / norm.ppf((1 + _LEVEL) / 2)
    stretch = small * np.sqrt(wanted * seeds**2 / (seeds - 1))
    tested = (curve.resampled - curve.values[..., None]).mean(axis=1)
    tested = np.nan_to_num(tested)[:, np.arange(len(drawn)) % tested.shape[1]]
    return np.asarray((mean[:, None] + stretch[:, None] * deviations + tested).T)


def _needed(labels: np.ndarray, losses: np.ndarray, others: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Logarithms of ratios ``(resamples, points)``."""
    mine, other = falling(losses), falling(theirs)
    crossed = [crossing(np.log(others), other, mine[:, at]) for at in range(len(labels))]
    return np.stack(crossed, axis=1) - np.log(labels)


def falling(losses: np.ndarray) -> np.ndarray:
    """Isotonic regression of ``losses (..., points)`` that never rises, equal weights.

    By its min-max formula: at k the least, over all i up to k, of the largest mean of i..j with j from k on.
    """
    points = losses.shape[-1]
    sums = np.concatenate([np.zeros((*losses.shape[:-1], 1)), np.cumsum(losses, axis=-1)], axis=-1)
    fitted = []
    for at in range(points):
        largest = [
            np.max([(sums[..., j + 1] - sums[..., i]) / (j + 1 - i) for j in range(at, points)], axis=0)
            for i in range(at + 1)
        ]
        fitted.append(np.min(largest, axis=0))
    return np.stack(fitted, axis=-1)


def crossing(places: np.ndarray, losses: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where falling ``losses (resamples, points)`` first are as small as wanted; -inf, inf outside."""
    reached = losses <= wanted[:, None] + 1e-12
    first = np.where(reached.any(axis=1), reached.argmax(axis=1), len(places))
    inside = np.clip(first, 1, len(places) - 1)
    rows = np.arange(len(losses))
    before, after = losses[rows, inside - 1], losses[rows, inside]
    share = np.clip((before - wanted) / np.where(before > after, before - after, 1.0), 0.0, 1.0)
    between = places[inside - 1] + share * (places[inside] - places[inside - 1])
    exact = (first == 0) & (np.abs(losses[:, 0] - wanted) <= 1e-12)
    found = np.where(first == 0, np.where(exact, places[0], -np.inf), between)
    return np.where(first == len(places), np.inf, found)
