"""Choosing a strategy: a race on shared folds of the labelled examples, within a budget of time."""

from regraft.choosing.auto.bench import Bench
from regraft.choosing.auto.choice import Choice, Row
from regraft.choosing.auto.decision import decide
from regraft.choosing.auto.entrants import ANCHOR, Entrant, Left, enter, labels_per_class, names_in_order
from regraft.choosing.auto.folds import SHARE, Fold, make_fold, own_examples
from regraft.choosing.auto.forecast import COMPILED, Forecast
from regraft.choosing.auto.judging import measure_of
from regraft.choosing.auto.lengths import SHORTEST
from regraft.choosing.auto.race import Race
from regraft.choosing.auto.search import FromSearch
from regraft.choosing.auto.table import choice_table
from regraft.choosing.auto.variants import FromPortfolio, Variants

__all__ = [
    "ANCHOR",
    "COMPILED",
    "SHARE",
    "SHORTEST",
    "Bench",
    "Choice",
    "Entrant",
    "Fold",
    "Forecast",
    "FromPortfolio",
    "FromSearch",
    "Left",
    "Race",
    "Row",
    "Variants",
    "choice_table",
    "decide",
    "enter",
    "labels_per_class",
    "make_fold",
    "measure_of",
    "names_in_order",
    "own_examples",
]
