"""Learned weights: what they are at first, what they become, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch

from regraft.core.errors import PlanError
from regraft.engine.alignment import Alignment, Moments, learned_weight
from regraft.engine.learned import Uncertainty
from regraft.plans import Learned


def uncertainty(start: float = 1.0, **given: bool) -> Uncertainty:
    found = learned_weight(Learned(learned="uncertainty", start=start), **given)
    assert isinstance(found, Uncertainty)
    return found


@pytest.mark.parametrize("numbers", [False, True])
def test_uncertainty_begins_with_its_start_and_follows_the_slope_of_the_objective(numbers: bool) -> None:
    weight = uncertainty(0.3, numbers=numbers)
    assert weight.value == pytest.approx(0.3)
    s = weight.s.detach().clone().requires_grad_()
    loss, half = 1.7, 0.5 if numbers else 1.0
    objective = half * torch.exp(-s) * loss + s / 2
    objective.backward()
    weight.pull(weight.value * loss)
    assert s.grad is not None
    assert weight.s.grad is not None
    assert weight.s.grad.item() == pytest.approx(s.grad.item())
    assert weight.value * loss + weight.penalty == pytest.approx(objective.item())


def test_uncertainty_settles_where_its_slope_ends() -> None:
    """For a loss that stays L the best weight is 1/(2 L)."""
    weight = uncertainty()
    optimiser = torch.optim.SGD([weight.s], lr=0.5)
    for _ in range(200):
        weight.pull(weight.value * 4.0)
        optimiser.step()
    assert weight.value == pytest.approx(1 / 8, rel=1e-3)


@pytest.mark.parametrize("kind", ["uncertainty", "alignment"])
def test_what_a_checkpoint_holds_is_put_back(kind: str) -> None:
    one, other = (learned_weight(Learned(learned=kind, start=start)) for start in (0.1, 1.0))
    if isinstance(one, Alignment):
        one.follow(0.5, Moments(0.2, 1.0, 0.5, 0.1, 0.3))
    other.restore(one.state)
    assert other.value == one.value
    assert math.isfinite(one.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"learned": "uncertainty", "start": 0}, "starts above 0; got start: 0"),
        ({"learned": "uncertainty", "options": {"decay": 0.1}}, "has no option decay; it has: rate"),
        ({"learned": "alignment", "options": {"decay": 1}}, "decay of a learned weight lies between 0 and 1"),
        ({"learned": "alignment", "options": {"measure": "dot"}}, "cosine or sign; got 'dot'"),
        (
            {"learned": "alignment", "options": {"most": 0}},
            "most of a learned weight is a number above 0; got 0",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        learned_weight(Learned.model_validate(given))
