r"""Which source is best, as far as the examples and the prior tell.

Let :math:`z` be the K candidates' true figures, on the scale of :class:`Scale`. A stage measured
:math:`\hat z` on n examples that all candidates share; a paired bootstrap over these examples gives draws
of it
with covariance :math:`\Sigma`, which falls as 1/n. Before the stage :math:`z \sim N(\mu, T)` around a common
level that is not known. Each draw b is then combined with a draw m of the prior,

.. math:: z = m + T (T + \Sigma)^{-1} (b - m),

which are draws of the posterior where all is Gaussian (Matheron's rule; Doucet 2010, "A note on efficient
conditional simulation of Gaussian distributions"), and keep the bootstrap's shape elsewhere. With few
examples the prior speaks, with many the examples do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from regraft.choosing.prior import Standing
from regraft.choosing.ranking.score import RESAMPLES
from regraft.core.randomness import numpy_generator

_LEVEL = 100.0  # variance of the common level: as good as unknown, on a scale of log-odds
_JITTER = 1e-10
_UNIFORM = 12**-0.5  # standard deviation of a percentile
SPREAD = 0.42
"""Standard deviation between sources on one target, on the scale of log-odds, before any is tried: the median
over 148 pairs of a published table and a data set, with accuracies of five models or more (quartiles
0.23 and 0.93)."""
_WEIGHT = 4.0  # sources that this spread counts for beside those that were measured
_DRAWS = RESAMPLES


@dataclass(frozen=True, eq=False)
class Belief:
    """What is thought of K candidates' figures, on the scale of :class:`Scale`.

    Attributes
    ----------
    draws
        ``float64 (R, K)``: draws of what is thought of their figures.
    noise
        ``float64 (K,)``: standard deviation of what may still change between here and the fine-tuned model,
        for each candidate by itself.
    """

    draws: np.ndarray
    noise: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """``float64 (K,)``."""
        return np.asarray(self.draws.mean(axis=0))

    @property
    def spread(self) -> np.ndarray:
        """``float64 (K,)``: standard deviation of each, without the noise."""
        return np.asarray(self.draws.std(axis=0))

    @property
    def ends(self) -> np.ndarray:
        """``float64 (R, K)``: draws of the figures after fine-tuning, but for what all have in common."""
        random = numpy_generator(0, "ranking noise", *self.draws.shape)
        return np.asarray(self.draws + self.noise * random.standard_normal(self.draws.shape))

    @property
    def best(self) -> np.ndarray:
        """``float64 (K,)``: the probability of each to be the best after fine-tuning; they sum to 1."""
        winners = np.argmax(self.ends, axis=1)
        return np.bincount(winners, minlength=self.draws.shape[1]) / len(self.draws)

    def beats(self, one: int, other: int) -> float:
        """The probability that one candidate ends above another."""
        ends = self.ends
        return float((ends[:, one] > ends[:, other]).mean())


def prior_of(standings: Sequence[Standing], measured: np.ndarray, spread: np.ndarray) -> Belief:
    """Percentiles that facts give, as figures on the scale.

    One percentile is worth what the candidates differ by: :data:`SPREAD`, or what was measured as far as
    there are enough of them, without what chance adds.

    Parameters
    ----------
    standings
        One for each candidate.
    measured, spread
        ``float64 (K,)``: their figures and the standard errors of these.
    """
    count = len(standings)
    seen = max(float(measured.var(ddof=1)) - float((spread**2).mean()), 0.0) if count > 1 else 0.0
    between = np.sqrt((_WEIGHT * SPREAD**2 + (count - 1) * seen) / (_WEIGHT + count - 1))
    unit = between / _UNIFORM
    means = unit * np.array([one.mean for one in standings])
    sds = unit * np.array([one.spread for one in standings])
    random = numpy_generator(0, "ranking prior", count)
    return Belief(means + sds * random.standard_normal((_DRAWS, count)), np.zeros(count))


def update(before: Belief, measured: np.ndarray, noise: float | np.ndarray = 0.0) -> Belief:
    """What is thought after a stage.

    Parameters
    ----------
    before
        What was thought.
    measured
        ``float64 (R, K)``: paired bootstrap draws of the stage's figures, as many as ``before`` has.
    noise
        See :class:`Belief`; what ``before`` had of it counts as spread of what was thought.
    """
    believed = before.ends
    believed = believed - believed.mean() + measured.mean()
    count = measured.shape[1]
    T = np.cov(believed.T).reshape(count, count) + _LEVEL
    sigma = np.cov(measured.T).reshape(count, count) + _JITTER * np.eye(count)
    gain = np.linalg.solve((T + sigma).T, T.T).T
    draws = believed + (measured - believed) @ gain.T
    return Belief(draws, np.broadcast_to(np.asarray(noise, dtype=np.float64), (count,)).copy())


def inexact(measured: np.ndarray, error: float) -> np.ndarray:
    """Draws ``float64 (R, K)`` of figures that are off, each by itself, by a normal error of this standard
    deviation beside what the bootstrap shows.
    """
    random = numpy_generator(0, "ranking inexact", *measured.shape)
    return np.asarray(measured + error * random.standard_normal(measured.shape))


def keep(belief: Belief, places: Sequence[int]) -> Belief:
    """The same for some of the candidates."""
    chosen = list(places)
    return Belief(belief.draws[:, chosen], belief.noise[chosen])
