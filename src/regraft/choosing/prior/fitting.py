r"""Fitting the prior: ridge regression on normal scores within tables.

A *table* is one data set of one benchmark: the accuracies of several models on it. Each accuracy becomes its
percentile in the table, :math:`(r - 1/2)/n` for rank ``r`` of ``n`` (ties share the mean rank), and that the
normal score :math:`y = \Phi^{-1}`. With :math:`x` the numbers of a model's facts, centred within the table
since only differences matter there, and :math:`w` that gives every table the same weight up to a size,

.. math:: \min_\beta \sum w (y - x^T \beta)^2 + \lambda \sum_k \beta_k^2.

Numbers of a block that is not known take their mean over all models of the tables.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from regraft.choosing.prior.facts import Facts
from regraft.choosing.prior.model import BLOCKS, Prior, numbers_of

FULL_WEIGHT = 30
"""A table of more models than this weighs no more than one of this many."""


@dataclass(frozen=True)
class Table:
    """Accuracies of several models on one data set.

    Attributes
    ----------
    benchmark, dataset
        Where it was published; what was learned.
    models
        Their names.
    facts
        What is known of each.
    accuracies
        ``float64 (models,)``.
    """

    benchmark: str
    dataset: str
    models: tuple[str, ...]
    facts: tuple[Facts, ...]
    accuracies: np.ndarray

    def without(self, dropped: Sequence[bool]) -> Table | None:
        """The table less some of its models; None where fewer than three are left."""
        kept = [number for number, gone in enumerate(dropped) if not gone]
        if len(kept) < 3:
            return None
        return Table(
            self.benchmark,
            self.dataset,
            tuple(self.models[i] for i in kept),
            tuple(self.facts[i] for i in kept),
            self.accuracies[kept],
        )


def percentiles(accuracies: np.ndarray) -> np.ndarray:
    """``(r - 1/2) / n`` for the rank ``r`` of each of ``n`` accuracies; equal ones share their mean rank."""
    from scipy.stats import rankdata

    return np.asarray((rankdata(accuracies) - 0.5) / len(accuracies))


def normal_scores(accuracies: np.ndarray) -> np.ndarray:
    """The normal scores of accuracies within their table."""
    from scipy.special import ndtri

    return np.asarray(ndtri(percentiles(accuracies)))


def fit(
    tables: Sequence[Table],
    *,
    blocks: Sequence[str] = BLOCKS,
    penalty: float,
    noise: float = 1.0,
    fitted: dict[str, Any] | None = None,
) -> Prior:
    """The ridge regression of normal scores on the numbers of these blocks of facts.

    ``noise`` is the variance of a model's score about its prediction, which only models that were left out
    tell; ``fitted`` is a record that is kept with the prior as it is.
    """
    every = Counter(facts for table in tables for facts in table.facts)
    columns = _columns(every, blocks)
    middles = _middles(every, columns, blocks)
    rows = {facts: _row(facts, columns, middles) for facts in every}
    gram, moment = np.zeros((len(columns), len(columns))), np.zeros(len(columns))
    for table in tables:
        x = np.stack([rows[facts] for facts in table.facts])
        x -= x.mean(0)
        y = normal_scores(table.accuracies)
        weight = min(len(y), FULL_WEIGHT) / len(y)
        gram += weight * x.T @ x
        moment += weight * x.T @ y
    beta = np.linalg.solve(gram + penalty * np.eye(len(columns)), moment)
    weights = {name: float(value) for name, value in zip(columns, beta, strict=True)}
    middle, doubt = _unknown(every, weights, blocks)
    return Prior(weights, middle, doubt, noise, fitted or {})


def _columns(every: Counter[Facts], blocks: Sequence[str]) -> list[str]:
    given = [numbers_of(facts) for facts in every]
    return sorted({name for numbers in given for block in blocks for name in numbers[block] or {}})


def _middles(every: Counter[Facts], columns: Sequence[str], blocks: Sequence[str]) -> dict[str, np.ndarray]:
    """For each block the mean of its numbers over the models that have them."""
    found = {}
    for block in blocks:
        known = [
            (_vector(numbers, columns), n) for f, n in every.items() if (numbers := numbers_of(f)[block])
        ]
        vectors, counts = [vector for vector, _ in known], [count for _, count in known]
        found[block] = np.average(vectors, axis=0, weights=counts) if known else np.zeros(len(columns))
    return found


def _row(facts: Facts, columns: Sequence[str], middles: dict[str, np.ndarray]) -> np.ndarray:
    given = numbers_of(facts)
    parts = [
        middle if given[b] is None else _vector(given[b] or {}, columns) for b, middle in middles.items()
    ]
    return np.asarray(np.sum(parts, axis=0))


def _vector(numbers: dict[str, float], columns: Sequence[str]) -> np.ndarray:
    return np.array([numbers.get(name, 0.0) for name in columns])


def _unknown(
    every: Counter[Facts], weights: dict[str, float], blocks: Sequence[str]
) -> tuple[dict[str, float], dict[str, float]]:
    """Mean and variance over models of what each block adds to the score."""
    middle, doubt = {}, {}
    for block in blocks:
        given = ((numbers_of(facts)[block], count) for facts, count in every.items())
        sums = [
            (sum(weights[n] * v for n, v in numbers.items()), count) for numbers, count in given if numbers
        ]
        values, counts = np.array(sums or [(0.0, 1)]).T
        middle[block] = float(np.average(values, weights=counts))
        doubt[block] = float(np.average((values - middle[block]) ** 2, weights=counts))
    return middle, doubt
