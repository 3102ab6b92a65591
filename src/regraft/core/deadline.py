"""Deadline: a clock that runs from the beginning of a call, and what is left of the time that it may take."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from regraft.core.errors import UsageError

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


class Deadline:
    """Seconds that all of a call may take, counted from when this was made.

    Parameters
    ----------
    seconds
        None for no limit yet; :meth:`limit` sets one.
    clock
        Seconds that only grow.
    """

    def __init__(self, seconds: float | None = None, *, clock: Callable[[], float] = time.monotonic):
        self.seconds = seconds
        self.clock = clock
        self._start = clock()

    def limit(self, seconds: float) -> None:
        """Set what the whole call may take, from its beginning."""
        self.seconds = seconds

    @property
    def spent(self) -> float:
        """Seconds since the beginning."""
        return self.clock() - self._start

    @property
    def left(self) -> float:
        """Seconds left, below 0 where it is over; infinite without a limit."""
        return math.inf if self.seconds is None else self.seconds - self.spent

    def fits(self, seconds: float) -> bool:
        """Whether so much more can be done."""
        return seconds <= self.left


def seconds_of(text: str) -> float:
    """``90``, ``90s``, ``5m`` or ``2h`` in seconds. Raises :class:`UsageError` for what is no time."""
    number, unit = (text[:-1], _UNITS[text[-1]]) if text and text[-1] in _UNITS else (text, 1.0)
    try:
        value = float(number) * unit
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise UsageError(f"{text!r} is no time; write 90s, 5m or 2h")
    return value
