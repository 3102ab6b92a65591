"""Schedules: step by step what torch.optim.lr_scheduler gives, and the papers' formulas where it has none."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from pydantic import ValidationError
from torch.optim import SGD, Optimizer, lr_scheduler

from regraft.engine.schedules import rate_factor
from regraft.plans import RateSchedule

STEPS = 28
Make = Callable[[Optimizer], lr_scheduler.LRScheduler]

SAME: dict[str, tuple[RateSchedule, Make]] = {
    "cosine": (
        RateSchedule(name="cosine", warmup=0, floor=0.1),
        lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS, eta_min=0.1),
    ),
    "linear": (
        RateSchedule(name="linear", warmup=0, floor=0.2),
        lambda o: lr_scheduler.LinearLR(o, start_factor=1.0, end_factor=0.2, total_iters=STEPS),
    ),
    "one-cycle": (
        RateSchedule(name="one-cycle", warmup=0.25, start=0.04, floor=0.04 / 1e4),
        lambda o: lr_scheduler.OneCycleLR(
            o,
            1.0,
            total_steps=STEPS,
            pct_start=0.25,
            div_factor=25,
            final_div_factor=1e4,
            cycle_momentum=False,
        ),
    ),
    "triangular": (
        RateSchedule(name="triangular", warmup=0.25, floor=1 / 32),
        lambda o: lr_scheduler.CyclicLR(
            o, 1 / 32, 1.0, step_size_up=7, step_size_down=21, cycle_momentum=False
        ),
    ),
    "step": (
        RateSchedule(name="step", warmup=0, milestones=(0.25, 0.5, 0.75), gamma=0.3),
        lambda o: lr_scheduler.MultiStepLR(o, [7, 14, 21], gamma=0.3),
    ),
    "exponential": (
        RateSchedule(name="exponential", warmup=0, floor=0.01),
        lambda o: lr_scheduler.ExponentialLR(o, 0.01 ** (1 / STEPS)),
    ),
    "polynomial": (
        RateSchedule(name="polynomial", warmup=0, power=0.9),
        lambda o: lr_scheduler.PolynomialLR(o, total_iters=STEPS, power=0.9),
    ),
    "restarts": (
        RateSchedule(name="restarts", warmup=0, cycles=3, growth=2, floor=0.05),
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, T_0=4, T_mult=2, eta_min=0.05),
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_rates_are_those_of_torch(name: str) -> None:
    schedule, make = SAME[name]
    optimiser = SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = make(optimiser)
    for step in range(STEPS):
        assert rate_factor(schedule, step, STEPS) == pytest.approx(
            optimiser.param_groups[0]["lr"], abs=1e-9
        ), step
        optimiser.step()
        theirs.step()


def test_the_slanted_triangle_is_that_of_the_paper() -> None:
    """Howard & Ruder (2018), equation 3, with cut_frac 0.1 and ratio 32."""
    steps, share, ratio = 200, 0.1, 32
    cut = math.floor(steps * share)
    for t in range(steps):
        p = t / cut if t < cut else 1 - (t - cut) / (cut * (1 / share - 1))
        factor = rate_factor(RateSchedule(name="triangular", warmup=share, floor=1 / ratio), t, steps)
        assert factor == pytest.approx((1 + p * (ratio - 1)) / ratio)


def test_warm_up_comes_before_every_shape_that_has_none_of_its_own() -> None:
    for name in ("constant", "linear", "cosine", "polynomial", "restarts", "step"):
        schedule = RateSchedule.model_validate({"name": name, "warmup": 0.25, "floor": 0.1})
        factors = [rate_factor(schedule, step, STEPS) for step in range(STEPS)]
        assert all(a < b for a, b in itertools.pairwise(factors[:8])), name
        assert factors[7] == 1.0
        assert min(factors[8:]) >= 0.1


@pytest.mark.parametrize("name", ["one-cycle", "triangular", "restarts", "step", "cosine"])
def test_a_stage_of_one_step_has_a_rate(name: str) -> None:
    schedule = RateSchedule.model_validate({"name": name, "floor": 0.01})
    assert 0 < rate_factor(schedule, 0, 1) <= 1


def test_an_exponential_has_to_say_where_it_ends() -> None:
    with pytest.raises(ValidationError, match="never reaches 0"):
        RateSchedule(name="exponential")
