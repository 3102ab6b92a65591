"""What the names in a plan compute: terms, combine rules and solvers."""

from regraft.terms.entropy import Entropy
from regraft.terms.registry import check_combine_rule, find_solver, find_term
from regraft.terms.supervised import Supervised
from regraft.terms.term import Partner, StepContext, Term, TermValue

__all__ = [
    "Entropy",
    "Partner",
    "StepContext",
    "Supervised",
    "Term",
    "TermValue",
    "check_combine_rule",
    "find_solver",
    "find_term",
]
