"""Pace: when the next checkpoint of a train stage is due."""

from __future__ import annotations

import time
from collections.abc import Callable

SHARE = 0.05
"""Largest share of a stage's time that writing checkpoints may take, where not every step wants one."""


class Pace:
    """Every ``seconds``; less often where writing takes so long that it would cost more than ``SHARE``.

    Only when something is written depends on the clock, never what.
    """

    def __init__(self, seconds: float):
        self.seconds = seconds
        self._cost = 0.0
        self._last = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether it is time for the next one."""
        if self.seconds == 0:
            return True
        return time.monotonic() - self._last >= max(self.seconds, self._cost / SHARE)

    def keep(self, write: Callable[[], None]) -> None:
        """Write one now."""
        start = time.monotonic()
        write()
        self._last = time.monotonic()
        self._cost = self._last - start
