"""Who may be the best, by a bootstrap over judged examples, crossed with folds.

Each resample draws examples and, where there are several, folds with replacement and gives all entrants the
same: values are compared in pairs. An entrant's mean in a resample is over all (fold, example), each as often
as both were drawn (the pigeonhole bootstrap: Owen 2007, "The pigeonhole bootstrap", which errs towards too
much spread, so that nobody is dropped too early).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from regraft.choosing.auto.scoreboard import Table
from regraft.core.bootstrap import resample_counts
from regraft.core.randomness import numpy_generator

RESAMPLES = 2000
UNLIKELY = 0.05
"""An entrant that is the best in fewer of the resamples is dropped."""
_TIE = 1e-12


@dataclass(frozen=True)
class Chances:
    """What a table says of each entrant.

    Attributes
    ----------
    mean, low, high
        Of its values, with an interval of 95%.
    best
        The share of resamples in which no other is better; ties count for both.
    behind
        How far it is behind the leader's mean, 0 for the leader.
    error
        The standard error of that difference.
    leader
        Who has the best mean.
    """

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    best: np.ndarray
    behind: np.ndarray
    error: np.ndarray
    leader: int

    @property
    def as_good(self) -> np.ndarray:
        """``bool (entrants,)``: who is at most one standard error behind the leader (the rule of Breiman et
        al. 1984, "Classification and regression trees", section 3.4.3, with errors of paired differences).
        """
        return np.asarray(self.behind <= self.error + _TIE)


def chances_of(table: Table, *, seed: int, resamples: int = RESAMPLES) -> Chances:
    """The chances of a table's entrants, at least one, from at least one row."""
    mean = table.values.mean(axis=1)
    leader = int(mean.argmax())
    drawn = np.concatenate(list(_resampled(table, seed, resamples)))
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    best = (drawn >= drawn.max(axis=1, keepdims=True) - _TIE).mean(axis=0)
    error = (drawn[:, [leader]] - drawn).std(axis=0)
    return Chances(mean, low, high, best, mean[leader] - mean, error, leader)


def _resampled(table: Table, seed: int, resamples: int) -> Iterator[np.ndarray]:
    """Blocks of means ``(resamples, entrants)``."""
    examples, place = np.unique(table.examples, return_inverse=True)
    folds = np.unique(table.folds)
    random = numpy_generator(seed, "race folds", len(folds), len(examples))
    for counts in resample_counts(len(examples), resamples, seed=seed, purpose="race"):
        # With one fold this draws it every time.
        often = random.multinomial(len(folds), np.full(len(folds), 1 / len(folds)), size=len(counts))
        totals, sizes = np.zeros((len(counts), len(table.values))), np.zeros((len(counts), 1))
        for column, fold in enumerate(folds):
            rows = table.folds == fold
            drawn = counts[:, place[rows]] * often[:, [column]]
            totals += drawn @ table.values[:, rows].T
            sizes += drawn.sum(axis=1, keepdims=True)
        # A resample may hold no row: all that was drawn stands in other folds.
        held = sizes[:, 0] > 0
        yield totals[held] / sizes[held]
