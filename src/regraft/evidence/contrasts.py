"""From trials to estimates: each arm's figures, and the strategy's paired differences to every other arm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from regraft.core.bootstrap import bootstrap_figures
from regraft.core.errors import DataError
from regraft.core.statistics import (
    Estimate,
    TestPart,
    Verdict,
    decide,
    detectable,
    equivalence_test,
    estimate,
    holm,
    sign_flip_test,
    t_test,
)
from regraft.evidence.trials import Trials
from regraft.tasks import Metric, Task

_SAME_EXAMPLES = 0.9  # an overlap from which draws are so alike that they say little about other examples
_RESAMPLES = 1000
_WORK = 1e8  # numbers to resample in all, beyond which fewer resamples are drawn


@dataclass(frozen=True)
class Contrast:
    """The strategy against another arm, over paired seeds.

    Attributes
    ----------
    arm, against
        Names.
    estimate
        Of the differences in the deciding metric, positive where ``arm`` is better.
    p
        The larger of the exact sign-flip test's and the interval's own p-value for no difference.
    p_holm
        The same, adjusted for the number of contrasts.
    verdict
        What the unadjusted interval says beside delta.
    p_equivalence
        Of two one-sided tests for a difference of delta or more.
    detectable
        The true difference that would have been found to be more than delta with a probability of 80%.
    """

    arm: str
    against: str
    estimate: Estimate
    p: float
    p_holm: float
    verdict: Verdict
    p_equivalence: float = float("nan")
    detectable: float = float("nan")


@dataclass(frozen=True)
class Comparison:
    """Figures of every arm on the test part, ready to be compared.

    Attributes
    ----------
    arms
        By name an estimate of the deciding metric over seeds.
    contrasts
        Of the first arm against every other one.
    """

    arms: dict[str, Estimate]
    contrasts: tuple[Contrast, ...]


def compare(trials: Trials, task: Task, labels: np.ndarray, delta: float) -> Comparison:
    """Score all trials on the test labels and contrast the first arm with the others.

    Parameters
    ----------
    trials
        Every arm on every seed.
    task
        Of the output that decides.
    labels
        Of ``target.test``, missing ones included: they are left out.
    delta
        What counts as a difference, in the metric's own unit.
    """
    there = task.present(labels)
    truth, metric = labels[there], task.metrics[0]
    tables = {
        arm.name: Table.of([result.scores[there] for result in trials.results[arm.name]], truth, metric)
        for arm in trials.arms
    }
    overlap = usable_overlap(trials.overlap)
    figures = {name: table.estimate(overlap) for name, table in tables.items()}
    first = trials.arms[0].name
    sign = 1 if metric.higher_is_better else -1
    pairs = [(name, tables[first].minus(table, sign).estimate(overlap)) for name, table in tables.items()]
    return Comparison(figures, _contrasts(first, pairs[1:], delta))


def usable_overlap(overlap: float) -> float:
    """The overlap, or 0 where all draws hold the same examples and intervals can speak for these only."""
    return 0.0 if same_examples(overlap) else overlap


def same_examples(overlap: float) -> bool:
    """Whether the draws are so alike that they say nothing about other training examples."""
    return overlap >= _SAME_EXAMPLES


def _contrasts(first: str, pairs: Sequence[tuple[str, Estimate]], delta: float) -> tuple[Contrast, ...]:
    p_values = [max(sign_flip_test(found.values), t_test(found)) for _, found in pairs]
    return tuple(
        Contrast(
            arm=first,
            against=name,
            estimate=found,
            p=p,
            p_holm=adjusted,
            verdict=decide(found, delta),
            p_equivalence=equivalence_test(found, delta),
            detectable=detectable(found, delta),
        )
        for (name, found), p, adjusted in zip(pairs, p_values, holm(p_values), strict=True)
    )


@dataclass(frozen=True)
class Table:
    """Figures of each seed on the test part ``(seeds,)`` and on resamples of it ``(seeds, resamples)``."""

    values: np.ndarray
    resampled: np.ndarray
    count: int

    @classmethod
    def of(cls, scores: Sequence[np.ndarray], labels: np.ndarray, metric: Metric) -> Table:
        """All seeds and, with the same purpose, all arms see the same resamples: differences stay paired."""
        resamples = int(np.clip(_WORK // (scores[0].size * len(scores)), 200, _RESAMPLES))
        drawn = bootstrap_figures(
            lambda counts: np.stack([metric.resampled(each, labels, counts) for each in scores], axis=1),
            len(labels),
            resamples=resamples,
            purpose="crossed",
        )
        values = np.array([metric.compute(each, labels) for each in scores])
        if np.isnan(values).any():
            raise DataError(
                f"{metric.name} is not defined on the {len(labels)} labelled test examples; "
                "take more for the test part, so that it holds examples of the classes"
            )
        return cls(values, drawn.T, len(labels))

    def minus(self, other: Table, sign: int) -> Table:
        """Paired differences, positive where this one is better."""
        return Table(
            sign * (self.values - other.values), sign * (self.resampled - other.resampled), self.count
        )

    def estimate(self, overlap: float) -> Estimate:
        """The mean over seeds with its interval, where their draws share this fraction of examples."""
        return estimate(
            self.values.tolist(), overlap=overlap, test=TestPart.of_resamples(self.resampled, self.count)
        )
