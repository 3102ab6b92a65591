r"""Intervals, tests and verdicts over paired seeds.

The setting: the test part is fixed; n seeds draw training examples from a pool that is fixed too; both arms
see the same draws. The verdict is about the population, so three sources of chance count:

1. *the draw*: n seeds show only some of it. Training sets that share the fraction :math:`\rho` of their
   examples are correlated, so that the variance of the mean over seeds is not :math:`s^2/n` but
   :math:`s^2 (1/n + \rho/(1-\rho))` (Nadeau and Bengio 2003, "Inference for the Generalization Error",
   section 3; there the test sets move, and :math:`\rho` is the fraction used for testing,
   :math:`\rho/(1-\rho)` that of test to training examples. Here the test part stays and training sets
   overlap: for a statistic that is smooth in its examples :math:`\rho` is their overlap, and the second
   summand the delete-d jackknife of Shao and Wu 1989);
2. *the test part*: the variance over test examples of the mean paired difference;
3. *their interaction*: which test examples a seed happens to get right. It is part of :math:`s^2`, but not of
   what overlapping draws share, and is taken out of the second summand of 1.

The parts are added, which counts the interaction twice: conservative. Error rates of the whole verdict and
its power stand in ``benchmarks/README.md`` (Verdicts). In simulations of linear classifiers without a
difference, 8 seeds, pools of 100 to 2,000, overlaps of 12 to 80%, 1 to 4% of the 95% intervals missed zero;
without the overlap term up to 29%, with the ratio of held-out to training examples in its place (1/4) up to
21%.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from regraft.core.paired import Intervals, decisions, intervals, two_way
from regraft.core.randomness import numpy_generator

_EXACT_FLIPS = 14
_SAMPLED_FLIPS = 20_000


class Verdict(StrEnum):
    """What a contrast says: beyond +delta, beyond -delta, within both, or not enough to tell."""

    HELPED = "HELPED"
    HARMED = "HARMED"
    EQUIVALENT = "EQUIVALENT"
    INCONCLUSIVE = "INCONCLUSIVE"


@dataclass(frozen=True)
class TestPart:
    """Variances that come from the test part having been sampled, in squared units of the metric.

    Attributes
    ----------
    shared
        Of the mean over seeds, from test examples that all seeds see.
    interaction
        Of one seed's value, from test examples that this seed happens to get right.
    count
        Number of test examples, for degrees of freedom.
    """

    __test__ = False  # the name is no invitation to pytest

    shared: float = 0.0
    interaction: float = 0.0
    count: int = 0

    @classmethod
    def of_examples(cls, values: np.ndarray) -> TestPart:
        """From values ``(seeds, examples)`` whose mean over examples is the metric: the two-way table."""
        seeds, count = values.shape
        if count < 2 or seeds < 2:
            raise ValueError(f"at least 2 seeds and 2 test examples are needed, found {seeds} and {count}")
        shared, interaction = two_way(values)
        return cls(float(shared), float(interaction), count)

    @classmethod
    def of_resamples(cls, values: np.ndarray, count: int) -> TestPart:
        """From bootstrap figures ``(seeds, resamples)``, the same resamples of ``count`` examples for all.

        Resamples in which the metric is undefined for a seed are left out.
        """
        defined = values[:, ~np.isnan(values).any(axis=0)]
        if defined.shape[1] < 2 or len(values) < 2 or count < 2:
            raise ValueError("at least 2 seeds, 2 test examples and 2 defined resamples are needed")
        whole = count / (count - 1)  # a bootstrap of few examples varies too little
        middle = defined.mean(axis=0)
        rest = (defined - middle).var(axis=1, ddof=1).sum() / (len(values) - 1)
        return cls(float(middle.var(ddof=1)) * whole, float(rest) * whole, count)


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its interval.

    Attributes
    ----------
    values
        One for each seed.
    mean, low, high, level
        The interval holds the population's value with probability ``level``.
    standard_error, degrees
        Of the mean; degrees of freedom of its t distribution.
    """

    values: tuple[float, ...]
    mean: float
    low: float
    high: float
    level: float
    standard_error: float
    degrees: float


def estimate(
    values: Sequence[float], *, overlap: float = 0.0, test: TestPart | None = None, level: float = 0.95
) -> Estimate:
    r"""Mean over seeds with a t interval that allows for overlapping draws and a finite test part.

    Variance :math:`s^2/n + (s^2 - e)\,\rho/(1-\rho) + v`, see the head of this module, with :math:`s^2` the
    variance over seeds, :math:`e` and :math:`v` the test part's interaction and shared variance; where
    :math:`e` or :math:`v` is there the interval is the quantile that :mod:`regraft.core.overlapping` states,
    for variances that few seeds show are themselves uncertain, and ``standard_error`` the one with which a t
    interval of ``degrees`` (Satterthwaite 1946) is as wide at ``level``. For a contrast hand in paired
    differences and their test part.

    Parameters
    ----------
    values
        One for each seed, at least two.
    overlap
        :math:`\rho`, the fraction of its training examples that a draw shares with another, 0 to below 1.
    test
        Variances from the test part; none makes it a statement about these test examples.
    """
    series = np.asarray(values, dtype=np.float64)
    if len(series) < 2 or not np.isfinite(series).all():
        raise ValueError(f"at least 2 seeds with a finite value each are needed, found {list(values)}")
    if not 0 <= overlap < 1:
        raise ValueError(f"an overlap is a fraction from 0 to below 1, found {overlap}")
    part = test or TestPart()
    found = intervals(
        series,
        overlap=overlap,
        shared=part.shared,
        interaction=part.interaction,
        count=part.count,
        level=level,
    )
    return Estimate(
        tuple(series.tolist()),
        float(found.mean),
        float(found.low),
        float(found.high),
        level,
        float(found.error),
        float(found.degrees),
    )


def together(estimates: Sequence[Estimate]) -> Intervals:
    """Several estimates of one level as arrays."""
    return Intervals(
        np.array([one.mean for one in estimates]),
        np.array([one.standard_error for one in estimates]),
        np.array([one.degrees for one in estimates]),
        estimates[0].level,
    )


def t_test(contrast: Estimate) -> float:
    """Two-sided p-value of a mean difference of zero, from the same standard error as the interval."""
    return min(1.0, 2 * float(together([contrast]).tail(0.0, above=contrast.mean > 0)[0]))


def sign_flip_test(differences: Sequence[float], *, seed: int = 0) -> float:
    """Two-sided p-value of paired differences that are as likely with either sign (Fisher 1935, section 21).

    All 2^n flips for up to 14 seeds, else 20,000 drawn ones and the one observed. With n seeds p cannot be
    below 2^(1-n): 0.031 for 6 seeds, 0.0078 for 8.
    """
    series = np.asarray(differences, dtype=np.float64)
    if len(series) == 0:
        raise ValueError("at least 1 difference is needed")
    if len(series) <= _EXACT_FLIPS:
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=len(series))))
    else:
        random = numpy_generator(seed, "sign flips", len(series))
        signs = random.choice((1.0, -1.0), size=(_SAMPLED_FLIPS, len(series)))
        signs[0] = 1.0
    sums = np.abs(signs @ series)
    return float((sums >= abs(series.sum()) * (1 - 1e-12) - 1e-300).mean())


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number, in the order given (Holm 1979): step-down Bonferroni, at most 1."""
    adjusted = [0.0] * len(p_values)
    floor = 0.0
    for rank, position in enumerate(sorted(range(len(p_values)), key=lambda at: p_values[at])):
        floor = max(floor, min(1.0, (len(p_values) - rank) * p_values[position]))
        adjusted[position] = floor
    return adjusted


def equivalence_test(contrast: Estimate, delta: float) -> float:
    """P-value of "differs by delta or more": two one-sided t tests (Schuirmann 1987), the larger of both."""
    found = together([contrast])
    return float(max(found.tail(-delta, above=True)[0], found.tail(delta, above=False)[0]))


def detectable(contrast: Estimate, delta: float, *, power: float = 0.8) -> float:
    r"""The true difference that would have been found to be more than delta with probability ``power``.

    :math:`\delta + (t_{(1+level)/2} + t_{power})\,e` with the contrast's own standard error :math:`e` and
    degrees of freedom (Bloom 1995, "Minimum detectable effects").
    """
    from scipy.stats import t

    quantiles = t.ppf([(1 + contrast.level) / 2, power], contrast.degrees)
    return delta + float(quantiles.sum()) * contrast.standard_error


def decide(contrast: Estimate, delta: float) -> Verdict:
    """The verdict on paired differences, positive where the first arm is better.

    HELPED if the interval lies above +delta, HARMED if below -delta, EQUIVALENT if two one-sided tests at
    (1 - level) reject a difference of delta or more, otherwise INCONCLUSIVE.
    """
    return Verdict(str(decisions(together([contrast]), delta)[0]))
