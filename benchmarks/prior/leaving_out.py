"""Predictions for what a prior was not fitted on: another family, another data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from tables import set_name

from regraft.choosing.prior.facts import Facts
from regraft.choosing.prior.fitting import Table
from regraft.choosing.prior.model import Prior
from regraft.choosing.prior.standing import expected

Fit = Callable[[Sequence[Table]], Prior]
Judge = Callable[[Sequence[Facts], Prior], np.ndarray]
"""Gives ``(models,)`` or ``(models, numbers)`` for the models of a table."""


def standings(facts: Sequence[Facts], prior: Prior) -> np.ndarray:
    """``float64 (models, 2)``: mean and spread of each model's percentile."""
    return np.array([(one.mean, one.spread) for one in expected(facts, prior=prior)])


def centred_scores(facts: Sequence[Facts], prior: Prior) -> np.ndarray:
    """``float64 (models, 1)``: normal scores about the table's mean."""
    known = {one: prior.score(one).mean for one in set(facts)}
    scores = np.array([[known[one]] for one in facts])
    return np.asarray(scores - scores.mean(0))


def by_family(tables: Sequence[Table], fit: Fit, judge: Judge = standings) -> list[np.ndarray]:
    """For each table what a prior says of each model that saw no model of its family, in whatever table.

    Where a model stands depends on the others, so each such prior judges all models of a table, and only
    those of the family that it did not see are taken from it.
    """
    found: list[np.ndarray | None] = [None] * len(tables)
    for family in sorted({facts.family for table in tables for facts in table.facts}):
        gone = [np.array([facts.family == family for facts in table.facts]) for table in tables]
        rest = (table.without(dropped) for table, dropped in zip(tables, gone, strict=True))
        prior = fit([table for table in rest if table is not None])
        for number, table in enumerate(tables):
            if gone[number].any():
                judged = judge(table.facts, prior)
                found[number] = _put(found[number], judged, gone[number])
    return [one for one in found if one is not None]


def by_dataset(tables: Sequence[Table], fit: Fit, judge: Judge = standings) -> list[np.ndarray]:
    """The same by a prior that saw no table of the data set, of whatever benchmark."""
    names = [set_name(table.dataset) for table in tables]
    priors = {
        name: fit([table for table, own in zip(tables, names, strict=True) if own != name])
        for name in sorted(set(names))
    }
    return [judge(table.facts, priors[name]) for table, name in zip(tables, names, strict=True)]


def _put(into: np.ndarray | None, judged: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    into = np.zeros_like(judged) if into is None else into
    into[chosen] = judged[chosen]
    return into
