"""Bootstrap over examples: what a figure would have been on other examples of the same population.

Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13 (percentile interval).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from regraft.core.randomness import numpy_generator

Resampled = Callable[[np.ndarray], np.ndarray]
"""From counts ``int (R, N)``, how often each resample holds each example, to R figures; NaN: undefined."""

_BLOCK = 1 << 24  # counts in memory at once


@dataclass(frozen=True)
class Interval:
    """A range that holds the population's value with probability ``level``; NaN where it cannot be said."""

    low: float
    high: float
    level: float = 0.95


def resample_counts(count: int, resamples: int, *, seed: int, purpose: str) -> Iterator[np.ndarray]:
    """Blocks of ``int32 (rows, N)`` whose rows are resamples with replacement, keyed by seed and purpose."""
    rows = max(1, _BLOCK // max(1, count))
    for start in range(0, resamples, rows):
        random = numpy_generator(seed, purpose, count, start)
        block = np.empty((min(rows, resamples - start), count), dtype=np.int32)
        for row in block:
            row[:] = np.bincount(random.integers(0, count, count), minlength=count)
        yield block


def bootstrap_figures(
    resampled: Resampled, count: int, *, resamples: int = 1000, seed: int = 0, purpose: str = "bootstrap"
) -> np.ndarray:
    """The figure of every resample of ``count`` examples, ``float64 (resamples,)``; NaN where undefined."""
    if count < 1:
        return np.full(resamples, np.nan)
    blocks = resample_counts(count, resamples, seed=seed, purpose=purpose)
    return np.concatenate([resampled(block) for block in blocks])


def bootstrap_interval(
    resampled: Resampled,
    count: int,
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
    purpose: str = "bootstrap",
) -> Interval:
    """Percentile interval of a figure over examples.

    Resamples in which the figure is undefined (a class is missing from it) are left out; where they are more
    than half, or there are fewer than two examples, no interval can be said and both ends are NaN.
    """
    figures = bootstrap_figures(resampled, count, resamples=resamples, seed=seed, purpose=purpose)
    defined = figures[~np.isnan(figures)]
    if count < 2 or 2 * len(defined) < len(figures):
        return Interval(float("nan"), float("nan"), level)
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), level)


def share_interval(share: float, count: int, *, level: float = 0.95) -> Interval:
    """Wilson's score interval of a share of ``count`` examples (Wilson 1927).

    For shares of 0 and 1, of which every resample is the same and a bootstrap would claim certainty.
    """
    from scipy.stats import norm

    z = float(norm.ppf((1 + level) / 2))
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * float(np.sqrt(share * (1 - share) / count + z * z / (4 * count**2)))
    return Interval(max(0.0, middle - half), min(1.0, middle + half), level)
