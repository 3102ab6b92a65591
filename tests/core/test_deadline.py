"""The clock of a call."""

from __future__ import annotations

import math

from regraft.core.deadline import Deadline


def test_what_is_left_counts_from_the_beginning() -> None:
    now = [100.0]
    deadline = Deadline(clock=lambda: now[0])
    assert deadline.left == math.inf
    assert deadline.fits(1e9)
    now[0] = 107.0
    deadline.limit(10.0)
    assert deadline.spent == 7.0
    assert deadline.left == 3.0
    assert deadline.fits(3.0)
    assert not deadline.fits(3.1)
    now[0] = 111.0
    assert deadline.left == -1.0
