"""How good a source is on a sample: exact leave-one-out predictions of a ridge head on pooled features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from regraft.choosing.ranking.scale import Scale
from regraft.core.bootstrap import resample_counts
from regraft.core.errors import SourceError
from regraft.core.randomness import numpy_generator
from regraft.tasks import Metric, Task
from regraft.terms.solvers import solve_ridge

RESAMPLES = 1000
_STEADY = 0.64


@dataclass(frozen=True, eq=False)
class Score:
    """Out-of-sample predictions of one source, and their figure.

    Attributes
    ----------
    scores
        Decoded predictions for each of N examples, by a head that has not seen it.
    labels
        Theirs.
    metric
        The task's first, which decides.
    """

    scores: np.ndarray
    labels: np.ndarray
    metric: Metric

    @property
    def count(self) -> int:
        """N."""
        return len(self.labels)

    @property
    def figure(self) -> float:
        """The metric of all; NaN where undefined."""
        return self.metric.compute(self.scores, self.labels)

    @property
    def value(self) -> float:
        """The figure on the scale of :class:`Scale`."""
        return float(Scale.of(self.metric).forward(self.figure, self.count))

    def resampled(self, *, seed: int) -> np.ndarray:
        """``float64 (RESAMPLES,)``: on the scale, the figure of every resample of the examples.

        Resamples depend on the number of examples and the seed alone, so that those of two sources on the
        same examples are paired. Where a resample lacks a class that the metric needs, it is the figure.
        """
        counts = resample_counts(self.count, RESAMPLES, seed=seed, purpose="ranking")
        figures = np.concatenate([self.metric.resampled(self.scores, self.labels, one) for one in counts])
        values = Scale.of(self.metric).forward(figures, self.count)
        return np.where(np.isnan(figures), self.value, values)


def resample_together(scores: Sequence[Score], *, seed: int) -> np.ndarray:
    """``float64 (RESAMPLES, K)``: paired resamples of K sources' figures, on the scale.

    A source that is right on all of a few examples, or wrong on all, is so on every resample, and a bootstrap
    would claim certainty. Where resamples vary less than four fifths of what such a figure varies by on the
    scale, normal noise makes up for it: the variance of log-odds is ``1 / (n p (1 - p))``, with one hit and
    one miss added to the n examples, that of an error's logarithm ``1 / (2 n)`` for normal residuals.
    """
    drawn = np.stack([score.resampled(seed=seed) for score in scores], axis=1)
    drawn = drawn - drawn.mean(axis=0) + np.array([score.value for score in scores])
    least = _STEADY * np.array([_variance(score) for score in scores])
    lacking = np.sqrt(np.maximum(least - drawn.var(axis=0), 0.0))
    random = numpy_generator(seed, "ranking floor", *drawn.shape)
    return np.asarray(drawn + lacking * random.standard_normal(drawn.shape))


def _variance(score: Score) -> float:
    if not Scale.of(score.metric).share:
        return 1 / (2 * score.count)
    share = (score.figure * score.count + 1) / (score.count + 2)
    return float(1 / (score.count * share * (1 - share)))


def score_features(features: np.ndarray, labels: np.ndarray, task: Task, name: str) -> Score:
    """Solve a ridge head over its grid of penalties and score every example by the fit to all others.

    Cost: one decomposition of the smaller Gram matrix, ``O(N D min(N, D))`` for features ``(N, D)``. Raises
    ``SourceError`` where the features are not finite.
    """
    if not np.isfinite(features).all():
        bad = int((~np.isfinite(features).all(axis=1)).sum())
        raise SourceError(f"{name} gives features that are not finite for {bad} of {len(features)} examples")
    solved = solve_ridge(features, labels, task).calibrated()
    return Score(task.scores(solved.held_out), labels, task.metrics[0])
