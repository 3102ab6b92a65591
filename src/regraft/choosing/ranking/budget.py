"""What fits in a budget. What does not is cut in this order:

1. the race;
2. more examples: fewer doublings of the sample, or none;
3. the input size of the first look, to half, where that spares a quarter of its time or more;
4. the examples of the first look, by halves, down to 64;
5. candidates that the prior thinks least of.

The first two take what is left of the budget when their turn comes; the first look may take half of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic

import numpy as np

from regraft.core.console import duration
from regraft.core.errors import BudgetError
from regraft.core.executors import together

FIRST = 256  # examples of the first look
MOST = 2048  # examples of the last round
PER_CLASS = 8  # as many of each class in the first look, if that is more
FEWEST = 64  # of a look
_SHARE = 0.5  # of the budget that the first look may take
_HALF_SIZE = 0.35  # time of half the input size beside the whole: a quarter, and what does not shrink
_WORTH = 0.25  # of the first look's time: what half the size has to spare


def fitting_count(each: float, count: int, left: float) -> int:
    """``count`` halved until so many examples at ``each`` seconds fit in what is left, down to
    :data:`FEWEST`; 0 where not even these do.
    """
    fewest = min(count, FEWEST)
    while count > fewest and each * count > left:
        count = max(count // 2, fewest)
    return count if each * count <= left else 0


class Clock:
    """Seconds since the ranking began, and what is left of its budget."""

    def __init__(self, budget: float | None):
        self.budget, self._start = budget, monotonic()

    @property
    def spent(self) -> float:
        """Seconds so far."""
        return monotonic() - self._start

    @property
    def left(self) -> float:
        """Seconds that are left; infinite without a budget."""
        return math.inf if self.budget is None else self.budget - self.spent


@dataclass(frozen=True)
class FirstLook:
    """How the first stage is run.

    Attributes
    ----------
    count
        Examples of each candidate.
    smaller
        Whether candidates that can are read at half their input size.
    tried
        Places of the candidates that are tried.
    cut
        Sentences: what was cut for it.
    """

    count: int
    smaller: bool
    tried: tuple[int, ...]
    cut: tuple[str, ...] = ()


def first_count(pool: int, classes: int) -> int:
    """Examples of the first look where nothing is cut."""
    return min(pool, max(FIRST, PER_CLASS * classes))


def plan_first_look(
    seconds: Sequence[float],
    *,
    can_shrink: Sequence[bool],
    expected: Sequence[float],
    count: int,
    left: float,
    workers: int = 1,
) -> FirstLook:
    """What of the first look fits in half of what is left.

    Parameters
    ----------
    seconds
        Of each candidate for one example.
    can_shrink
        Whether it can be read at half its input size.
    expected
        What the prior thinks of it; more is better.
    count
        Examples, where nothing is cut.
    left
        Seconds; infinite without a budget.
    workers
        How many candidates are looked at at once.

    Raises
    ------
    BudgetError
        Where not even one candidate fits; it says what would.
    """
    price, shrunk = np.asarray(seconds), np.asarray(can_shrink)
    half = np.where(shrunk, _HALF_SIZE, 1.0) * price
    tried, limit, cut = list(range(len(price))), _SHARE * left, list[str]()

    def fits(each: np.ndarray, many: int) -> bool:
        return together(each[tried].tolist(), workers) * many <= limit

    if fits(price, count):
        return FirstLook(count, False, tuple(tried))
    smaller = bool(half.sum() <= (1 - _WORTH) * price.sum())
    each = half if smaller else price
    if smaller:
        cut.append("the first look is at half the input size")
    fewest = min(count, FEWEST)
    many = count
    while many > fewest and not fits(each, many):
        many = max(many // 2, fewest)
    if many < count:
        cut.append(f"the first look is at {many} examples instead of {count}")
    order = sorted(tried, key=lambda place: expected[place])
    while len(tried) > 1 and not fits(each, many):
        tried.remove(order.pop(0))
    if len(tried) < len(price):
        cut.append(f"{len(price) - len(tried)} candidates are not tried: those that facts say least for")
    if not fits(each, many):
        need = together(each[tried].tolist(), workers) * many / _SHARE
        raise BudgetError(
            f"not even one source can be looked at on {many} examples within what is left of the budget "
            f"({duration(max(left, 0.0))}): about {duration(need)} are needed. Give a larger --budget, or a "
            "smaller --size"
        )
    return FirstLook(many, smaller, tuple(tried), tuple(cut))
