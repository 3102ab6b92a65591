"""What the names in a plan mean: terms, combine rules, solvers, averages."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from regraft.core.errors import PlanError
from regraft.core.spelling import did_you_mean
from regraft.terms.averages import AverageRule, Greedy, Interpolation, Layers, Mean
from regraft.terms.bi_tuning import BiTuning
from regraft.terms.bss import BSS
from regraft.terms.co_tuning import CoTuning
from regraft.terms.combine import CombineRule, GradNorm, PCGrad, Sum
from regraft.terms.delta import Delta
from regraft.terms.distillation import DistilFeatures, Distillation
from regraft.terms.entropy import Entropy
from regraft.terms.l2sp import L2SP
from regraft.terms.lwf import LwF
from regraft.terms.solvers import (
    Calibration,
    Neighbours,
    Solution,
    solve_centroid,
    solve_logistic,
    solve_neighbours,
    solve_ridge,
    solve_temperature,
)
from regraft.terms.supervised import Supervised
from regraft.terms.term import Term

TERMS: dict[str, type[Term]] = {
    "supervised": Supervised,
    "entropy": Entropy,
    "l2sp": L2SP,
    "bss": BSS,
    "distillation": Distillation,
    "distil-features": DistilFeatures,
    "lwf": LwF,
    "delta": Delta,
    "co-tuning": CoTuning,
    "bi-tuning": BiTuning,
}
COMBINE_RULES: dict[str, type[CombineRule]] = {"sum": Sum, "pcgrad": PCGrad, "gradnorm": GradNorm}
SOLVERS: dict[str, Callable[..., Solution | Neighbours]] = {
    "ridge": solve_ridge,
    "logistic": solve_logistic,
    "centroid": solve_centroid,
    "knn": solve_neighbours,
}
CALIBRATIONS: dict[str, Callable[..., Calibration]] = {"temperature": solve_temperature}
"""What a solve stage may do to heads that are there already, from what they give."""
KEEPS_EXAMPLES = ("knn",)
"""Solvers that make the training examples themselves the head: it has nothing to train or to average."""
_HANDED = ("features", "outputs", "labels", "task")  # by the engine; the rest are options
AVERAGES: dict[str, type[AverageRule]] = {kind.name: kind for kind in (Mean, Interpolation, Greedy, Layers)}


def find_term(name: str) -> type[Term]:
    """The term of that name, or a :class:`PlanError` that lists what there is."""
    if name not in TERMS:
        there = ", ".join(sorted(TERMS))
        raise PlanError(f"no term is called {name!r}; there are: {there}{did_you_mean(name, TERMS)}")
    return TERMS[name]


def make_combine_rule(name: str, options: Mapping[str, Any]) -> CombineRule:
    """The combine rule of that name, or a :class:`PlanError` that lists what there is."""
    if name not in COMBINE_RULES:
        there = f"{', '.join(sorted(COMBINE_RULES))}{did_you_mean(name, COMBINE_RULES)}"
        raise PlanError(f"no combine rule is called {name!r}; there are: {there}")
    return COMBINE_RULES[name](options)


def find_solver(name: str) -> Callable[..., Solution | Neighbours]:
    """The solver of heads of that name, or a :class:`PlanError` that lists what there is.

    A solver is called with ``(features, labels, task, **options)``.
    """
    check_solver(name)
    return SOLVERS[name]


def check_solver(name: str, options: Iterable[str] = ()) -> None:
    """Raise :class:`PlanError` for what no solve stage can do, with a list of what there is."""
    if name not in {**SOLVERS, **CALIBRATIONS}:
        known = sorted({**SOLVERS, **CALIBRATIONS})
        near = did_you_mean(name, known)
        raise PlanError(f"no solver is called {name!r}; there are: {', '.join(known)}{near}")
    given = inspect.signature({**SOLVERS, **CALIBRATIONS}[name]).parameters
    takes = [one for one in given if one not in _HANDED]
    strange = [one for one in options if one not in takes]
    if strange:
        raise PlanError(
            f"the solver {name!r} has no option {', '.join(strange)}; it has: {', '.join(takes) or 'none'}"
            f"{did_you_mean(strange[0], takes)}"
        )


def find_average(name: str) -> type[AverageRule]:
    """The rule of that name, or a :class:`PlanError` that lists what there is."""
    if name not in AVERAGES:
        there = ", ".join(sorted(AVERAGES))
        raise PlanError(f"no average is called {name!r}; there are: {there}{did_you_mean(name, AVERAGES)}")
    return AVERAGES[name]
