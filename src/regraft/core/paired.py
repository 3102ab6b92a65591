r"""Intervals and decisions for any number of experiments at once.

What :mod:`regraft.core.statistics` says about one contrast is computed here, on arrays whose leading axes may
hold anything: arms, or thousands of simulated experiments (``benchmarks/verdicts.py``), which so go through
the very functions that decide a verdict.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from regraft.core.overlapping import half_widths


@dataclass(frozen=True)
class Intervals:
    """Means over seeds ``(...)`` with what their t intervals need.

    Attributes
    ----------
    mean, error, degrees
        The mean, its standard error, and the degrees of freedom of its t distribution.
    level
        Of the interval from ``low`` to ``high``.
    """

    mean: np.ndarray
    error: np.ndarray
    degrees: np.ndarray
    level: float = 0.95

    @cached_property
    def half(self) -> np.ndarray:
        """Half the interval's width."""
        from scipy.stats import t

        return np.asarray(t.ppf((1 + self.level) / 2, self.degrees) * self.error)

    @property
    def low(self) -> np.ndarray:
        """The lower end."""
        return self.mean - self.half

    @property
    def high(self) -> np.ndarray:
        """The upper end."""
        return self.mean + self.half

    def tail(self, null: float, *, above: bool) -> np.ndarray:
        """Probability of a mean as far above (or below) ``null`` as the one found, if ``null`` were true."""
        from scipy.stats import t

        distance = self.mean - null if above else null - self.mean
        certain = np.where(distance > 0, 0.0, 1.0)
        scale = np.where(self.error > 0, self.error, 1.0)
        with np.errstate(over="ignore"):  # an error of next to nothing makes any distance infinite
            return np.where(self.error > 0, t.sf(distance / scale, self.degrees), certain)


def intervals(
    values: np.ndarray,
    *,
    overlap: float | np.ndarray = 0.0,
    shared: float | np.ndarray = 0.0,
    interaction: float | np.ndarray = 0.0,
    count: int = 0,
    level: float = 0.95,
) -> Intervals:
    r"""Means of ``values (..., seeds)`` over the last axis; see :func:`regraft.core.statistics.estimate`.

    ``overlap``, ``shared`` and ``interaction`` (:class:`regraft.core.statistics.TestPart`) are numbers or
    have the shape of the leading axes; ``count`` test examples.
    """
    from scipy.stats import t

    seeds = values.shape[-1]
    spread = np.asarray(values.var(axis=-1, ddof=1))
    ratio = np.asarray(overlap) / (1 - np.asarray(overlap))
    apart, ratios = (
        np.broadcast_to(np.asarray(each, dtype=np.float64), spread.shape) for each in (interaction, ratio)
    )
    test = np.broadcast_to(np.asarray(shared, dtype=np.float64), spread.shape)
    half = half_widths(spread, apart, ratios, test, seeds=seeds, count=count, level=level)
    drawn = spread * (1 / seeds + ratios)
    degrees = _satterthwaite(drawn, seeds - 1, test, count - 1)
    return Intervals(values.mean(axis=-1), half / t.ppf((1 + level) / 2, degrees), degrees, level)


def _satterthwaite(one: np.ndarray, degrees: int, other: np.ndarray, others: int) -> np.ndarray:
    """Degrees of freedom of a sum of two variances (Satterthwaite 1946); the first's where both are none."""
    shares = one**2 / degrees + (other**2 / others if others > 0 else 0.0)
    total = (one + other) ** 2
    return np.divide(total, shares, out=np.full(np.shape(total), float(degrees)), where=shares > 0)


def two_way(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shared and interaction variances of tables ``(..., seeds, examples)`` whose mean is the metric.

    The two-way table without replicates: sums of squares of examples and of what is left.
    """
    seeds, count = values.shape[-2:]
    middle = values.mean(axis=-2, dtype=np.float64)
    rows = values.mean(axis=-1, dtype=np.float64)
    squares = np.einsum("...sj,...sj->...", values, values, dtype=np.float64)
    columns = np.einsum("...j,...j->...", middle, middle)
    whole = middle.mean(axis=-1) ** 2
    rest = squares - count * (rows**2).sum(axis=-1) - seeds * columns + seeds * count * whole
    shared = np.maximum(0.0, columns - count * whole) / (count - 1)
    return shared / count, np.maximum(0.0, rest) / ((seeds - 1) * (count - 1)) / count


def decisions(found: Intervals, delta: float) -> np.ndarray:
    """The verdict on each contrast, as text; see :func:`regraft.core.statistics.decide`."""
    same = np.maximum(found.tail(-delta, above=True), found.tail(delta, above=False))
    return np.select(
        [found.low > delta, found.high < -delta, same < 1 - found.level],
        ["HELPED", "HARMED", "EQUIVALENT"],
        "INCONCLUSIVE",
    )
