"""What the names in a plan compute: terms, combine rules, solvers and averages."""

from regraft.terms.averages import Average, AverageRule, Judge, Judged, Weights
from regraft.terms.combine import Moment
from regraft.terms.entropy import Entropy
from regraft.terms.registry import (
    CALIBRATIONS,
    KEEPS_EXAMPLES,
    check_solver,
    find_average,
    find_solver,
    find_term,
    make_combine_rule,
)
from regraft.terms.supervised import Supervised
from regraft.terms.term import Partner, Pass, StageContext, StepContext, Term, TermValue

__all__ = [
    "CALIBRATIONS",
    "KEEPS_EXAMPLES",
    "Average",
    "AverageRule",
    "Entropy",
    "Judge",
    "Judged",
    "Moment",
    "Partner",
    "Pass",
    "StageContext",
    "StepContext",
    "Supervised",
    "Term",
    "TermValue",
    "Weights",
    "check_solver",
    "find_average",
    "find_solver",
    "find_term",
    "make_combine_rule",
]
