"""What the names in a plan mean: terms and combine rules. Solvers are found in ``terms.solvers``."""

from __future__ import annotations

from regraft.core.errors import PlanError
from regraft.terms.supervised import Supervised
from regraft.terms.term import Term

TERMS: dict[str, type[Term]] = {"supervised": Supervised}
COMBINE_RULES = ("sum",)


def find_term(name: str) -> type[Term]:
    """The term of that name, or a :class:`PlanError` that lists what there is."""
    if name not in TERMS:
        raise PlanError(f"no term is called {name!r}; there are: {', '.join(sorted(TERMS))}")
    return TERMS[name]


def check_combine_rule(name: str) -> None:
    """Raise :class:`PlanError` for a combine rule that does not exist."""
    if name not in COMBINE_RULES:
        raise PlanError(f"no combine rule is called {name!r}; there are: {', '.join(COMBINE_RULES)}")
