"""Names in a plan mean something, or are refused with what there is."""

from __future__ import annotations

import pytest

from regraft.core.errors import PlanError
from regraft.terms import find_solver
from regraft.terms.registry import COMBINE_RULES, SOLVERS, TERMS, find_term, make_combine_rule
from regraft.terms.supervised import Supervised
from regraft.terms.term import Term


def test_every_name_is_found() -> None:
    assert find_term("supervised") is Supervised
    assert all(issubclass(find_term(name), Term) for name in TERMS)
    assert all(find_solver(name) is solver for name, solver in SOLVERS.items())
    assert all(make_combine_rule(name, {}).name == name for name in COMBINE_RULES)


def test_a_name_that_is_none_says_what_there_is() -> None:
    with pytest.raises(
        PlanError, match="no term is called 'distil'; there are: bi-tuning, bss, co-tuning, delta, dist"
    ):
        find_term("distil")
    with pytest.raises(PlanError, match=r"no solver is called 'lasso'; there are: centroid, knn, .*temp"):
        find_solver("lasso")
    with pytest.raises(PlanError, match="no combine rule is called 'max'; there are: gradnorm, pcgrad, sum"):
        make_combine_rule("max", {})
