"""Schedules: the share of its peak that a rate has at each step of a stage.

With ``T`` steps, ``W = round(warmup T)`` of them on the way up, ``x = (t - W) / (T - W)`` the share of
the rest that is done and ``f`` the floor, after a linear warm-up ``(t + 1) / (W + 1)``:

===============  ============================================================================================
``constant``     1
``linear``       f + (1 - f)(1 - x)
``polynomial``   f + (1 - f)(1 - x)^power
``cosine``       f + (1 - f)(1 + cos(pi x)) / 2 (Loshchilov & Hutter 2017)
``restarts``     the same cosine ``cycles`` times, each ``growth`` times as long as the one before (SGDR,
                 Loshchilov & Hutter 2017)
``step``         gamma^m, m milestones passed, and never below f; milestones are shares of ``T``
``exponential``  f^x
===============  ============================================================================================

Two shapes bring a way up of their own:

- ``triangular``: f + (1 - f) p with p = t / W up to W and (T - t) / (T - W) then (slanted triangular rates,
  ULMFiT, Howard & Ruder 2018; theirs is warmup 0.1, floor 1/32).
- ``one-cycle``: a cosine from ``start`` to 1 over ``warmup`` of the steps, and one down to f, which the last
  step has (Smith & Topin 2018, as PyTorch has it: div_factor is 1 / start, final_div_factor start / f).
  Momentum stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from regraft.plans import RateSchedule


def rate_factor(schedule: RateSchedule, step: int, steps: int) -> float:
    """The share of the peak rate at ``step`` (from 0) of a stage of ``steps`` steps."""
    if schedule.name == "one-cycle":
        return _one_cycle(schedule, step, steps)
    if schedule.name == "triangular":
        return _triangular(schedule, step, steps)
    warm = round(schedule.warmup * steps)
    if step < warm:
        return (step + 1) / (warm + 1)
    if schedule.name == "step":
        passed = sum(step >= round(milestone * steps) for milestone in schedule.milestones)
        return max(schedule.gamma**passed, schedule.floor)
    done = (step - warm) / max(steps - warm, 1)
    return _SHAPES[schedule.name](schedule, done)


def _constant(schedule: RateSchedule, done: float) -> float:
    return 1.0


def _linear(schedule: RateSchedule, done: float) -> float:
    return schedule.floor + (1 - schedule.floor) * (1 - done)


def _polynomial(schedule: RateSchedule, done: float) -> float:
    return schedule.floor + (1 - schedule.floor) * max(1 - done, 0.0) ** schedule.power


def _exponential(schedule: RateSchedule, done: float) -> float:
    return float(schedule.floor**done)


def _cosine(schedule: RateSchedule, done: float) -> float:
    return schedule.floor + (1 - schedule.floor) * (0.5 * (1 + math.cos(math.pi * done)))


def _restarts(schedule: RateSchedule, done: float) -> float:
    """The cosine within the cycle that ``done`` lies in."""
    lengths = [schedule.growth**number for number in range(schedule.cycles)]
    place = done * sum(lengths)
    for length in lengths:
        # A step that should begin a cycle may miss it by a rounding.
        if place < length - 1e-9:
            return _cosine(schedule, max(place, 0.0) / length)
        place -= length
    return _cosine(schedule, 1.0)


def _triangular(schedule: RateSchedule, step: int, steps: int) -> float:
    top = math.floor(schedule.warmup * steps)
    share = step / top if step < top else (steps - step) / max(steps - top, 1)
    return schedule.floor + (1 - schedule.floor) * share


def _one_cycle(schedule: RateSchedule, step: int, steps: int) -> float:
    top = schedule.warmup * steps - 1
    if step <= top and top > 0:
        return _between(schedule.start, 1.0, step / top)
    top = max(top, 0.0)
    return _between(1.0, schedule.floor, (step - top) / max(steps - 1 - top, 1))


def _between(start: float, end: float, share: float) -> float:
    """The cosine from ``start`` to ``end``."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))


_SHAPES: dict[str, Callable[[RateSchedule, float], float]] = {
    "constant": _constant,
    "linear": _linear,
    "polynomial": _polynomial,
    "exponential": _exponential,
    "cosine": _cosine,
    "restarts": _restarts,
}
