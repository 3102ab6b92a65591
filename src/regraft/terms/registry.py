"""What the names in a plan mean: terms, combine rules, solvers, averages."""

from __future__ import annotations

from collections.abc import Callable

from regraft.core.errors import PlanError
from regraft.terms.averages import AverageRule, Interpolation, Mean
from regraft.terms.entropy import Entropy
from regraft.terms.solvers import Solution, solve_logistic, solve_ridge
from regraft.terms.supervised import Supervised
from regraft.terms.term import Term

TERMS: dict[str, type[Term]] = {"supervised": Supervised, "entropy": Entropy}
COMBINE_RULES = ("sum",)
SOLVERS: dict[str, Callable[..., Solution]] = {"ridge": solve_ridge, "logistic": solve_logistic}
AVERAGES: dict[str, type[AverageRule]] = {kind.name: kind for kind in (Mean, Interpolation)}


def find_term(name: str) -> type[Term]:
    """The term of that name, or a :class:`PlanError` that lists what there is."""
    if name not in TERMS:
        raise PlanError(f"no term is called {name!r}; there are: {', '.join(sorted(TERMS))}")
    return TERMS[name]


def check_combine_rule(name: str) -> None:
    """Raise :class:`PlanError` for a combine rule that does not exist."""
    if name not in COMBINE_RULES:
        raise PlanError(f"no combine rule is called {name!r}; there are: {', '.join(COMBINE_RULES)}")


def find_solver(name: str) -> Callable[..., Solution]:
    """The solver of that name, or a :class:`PlanError` that lists what there is.

    A solver is called with ``(features, labels, task, **options)``.
    """
    if name not in SOLVERS:
        raise PlanError(f"no solver is called {name!r}; there are: {', '.join(sorted(SOLVERS))}")
    return SOLVERS[name]


def find_average(name: str) -> type[AverageRule]:
    """The rule of that name, or a :class:`PlanError` that lists what there is."""
    if name not in AVERAGES:
        raise PlanError(f"no average is called {name!r}; there are: {', '.join(sorted(AVERAGES))}")
    return AVERAGES[name]
