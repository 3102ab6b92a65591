"""Averages and stochastic norms beside PyTorch loops written by hand: the same losses, the same weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from regraft.core.randomness import torch_randomness
from regraft.engine import execute
from regraft.engine.workspace import Workspace
from regraft.linking import Grafted
from regraft.plans import Plan
from tests.engine.conftest import Bench
from tests.strategies.parity import (
    STEPS,
    Group,
    Hand,
    as_whole_epochs,
    begin,
    cross_entropy,
    losses_by_hand,
    within,
)

NETWORK = "trunk.network."
CONSTANT = ("schedule.name=constant", "schedule.warmup=0")
State = dict[str, Tensor]


def state(model: Grafted) -> State:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def executed(bench: Bench, plan: Plan) -> Workspace:
    work = bench.open(plan)
    execute(work)
    return work


def losses_of(work: Workspace, stage: str) -> list[float]:
    return [one["loss"] for one in work.history.lines if (one["stage"], one["kind"]) == (stage, "train")]


def assert_near(found: State, expected: State) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-6, atol=2e-6)


def last_blocks(scale: float = 1.0) -> list[Group]:
    """Rates of the head and the three last blocks, as lpft has them."""
    rates = {"stages0": 1.69e-4, "stages1": 2.25e-4, "stages2": 3e-4}
    blocks = [Group(within(NETWORK + name), rounded(scale * rate), 0.01) for name, rate in rates.items()]
    return [Group(within("heads"), scale * 1e-4), *blocks]


def rounded(rate: float) -> float:
    return float(f"{rate:.3g}")


def test_swa(pictures: Bench) -> None:
    """Izmailov et al. 2018: the plain mean of the weights after each step at a constant rate."""
    plan = as_whole_epochs(pictures.plan("swa"), *CONSTANT)
    work = executed(pictures, plan)
    hand, seen = begin(pictures, plan, "wander"), []

    def loss(hand: Hand) -> Tensor:
        seen.append(state(hand.model))
        return cross_entropy(hand)

    expected = losses_by_hand(hand, last_blocks(0.5), loss=loss)
    assert losses_of(work, "wander") == pytest.approx(expected, abs=1e-6, rel=0)
    after = [*seen[1:], state(hand.model)]
    assert len(after) == STEPS
    found = state(work.models["student"])
    assert_near(found, {name: sum(one[name] for one in after) / STEPS for name in found})  # type: ignore[misc]
    last = after[-1]
    assert max(float((found[name] - last[name]).abs().max()) for name in found) > 1e-4


def test_wise_ft(pictures: Bench) -> None:
    """Wortsman et al. 2022, equation 1, between the solved head and the end of the tuning."""
    plan = as_whole_epochs(pictures.plan("wise-ft:0.3"), *CONSTANT)
    work = executed(pictures, plan)
    hand = begin(pictures, plan, "tune")
    start = state(hand.model)
    expected = losses_by_hand(hand, last_blocks())
    assert losses_of(work, "tune") == pytest.approx(expected, abs=1e-6, rel=0)
    end, found = state(hand.model), state(work.models["student"])
    assert_near(found, {name: 0.7 * start[name] + 0.3 * end[name] for name in found})
    assert max(float((found[name] - end[name]).abs().max()) for name in found) > 1e-4


@pytest.mark.parametrize(("share", "plain"), [(1.0, True), (0.0, True), (0.5, False)])
def test_wise_ft_at_its_ends_is_the_head_or_lpft(pictures: Bench, share: float, plain: bool) -> None:
    changes = ("stop.epochs=2", "stop.keep=last")
    found = state(executed(pictures, pictures.plan(f"wise-ft:{share}", *changes)).models["student"])
    other = pictures.plan("lpft", *changes)
    if share == 0:
        other = other.model_copy(update={"stages": other.stages[:1]})
    expected = state(executed(pictures, other).models["student"])
    assert all(torch.equal(found[name], value) for name, value in expected.items()) is plain


class HandNorm(nn.Module):
    """Kou et al. 2020, section 3: each channel is normalised by either statistics, drawn at every step."""

    def __init__(self, norm: nn.BatchNorm2d):
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias
        assert norm.running_mean is not None
        assert norm.running_var is not None
        self.mean, self.var = norm.running_mean.clone(), norm.running_var.clone()

    def forward(self, x: Tensor) -> Tensor:
        mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
        either = [self._normalised(x, *both) for both in ((mean, var), (self.mean, self.var))]
        count = x.numel() / x.shape[1]
        with torch.no_grad():
            self.mean = 0.9 * self.mean + 0.1 * mean
            self.var = 0.9 * self.var + 0.1 * var * count / (count - 1)
        chosen = torch.bernoulli(torch.full((1, x.shape[1], 1, 1), 0.5))
        return chosen * either[0] + (1 - chosen) * either[1]

    def _normalised(self, x: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        scale = self.weight / (var + 1e-5).sqrt()
        return (x - mean[:, None, None]) * scale[:, None, None] + self.bias[:, None, None]


def put_by_hand(module: nn.Module) -> list[HandNorm]:
    """Put norms by hand in the place of batch norms; they are run in this order."""
    made: list[HandNorm] = []
    for name, child in list(module.named_children()):
        if isinstance(child, nn.BatchNorm2d):
            made.append(HandNorm(child))
            setattr(module, name, made[-1])
        else:
            made += put_by_hand(child)
    return made


def stochastic_by_hand(pictures: Bench, plan: Plan, count: int) -> tuple[list[float], list[HandNorm]]:
    """Losses of so many steps, and the norms after them."""
    hand = begin(pictures, plan, "tune")
    norms, steps = put_by_hand(hand.model.trunk.network), iter(range(count))

    def loss(hand: Hand) -> Tensor:
        values = hand.batch["pixels"]
        with torch_randomness(hand.work.draw.seed, "step", next(steps)):
            for part in hand.model.trunk.network.children():
                values = part(values)
        given = hand.model.heads["output_label"](values)
        return functional.cross_entropy(given, hand.labels["label"])

    groups = [Group(within("heads"), 1e-3, 0.01), Group(within("trunk"), 3e-4, 0.01)]
    return losses_by_hand(hand, groups, loss=loss, steps=count), norms


def test_stochnorm(pictures: Bench) -> None:
    plan = as_whole_epochs(pictures.plan("stochnorm"), *CONSTANT)
    expected, _ = stochastic_by_hand(pictures, plan, STEPS)
    found = losses_of(executed(pictures, plan), "tune")
    assert found == pytest.approx(expected, abs=1e-6, rel=0)
    assert max(expected) - min(expected) > 1e-3


def test_stochnorm_goes_on_collecting_statistics(pictures: Bench) -> None:
    """Of one step: over more, rounding grows where Adam divides small gradients by their size."""
    plan = as_whole_epochs(pictures.plan("stochnorm"), *CONSTANT, "stop.epochs=1")
    _, norms = stochastic_by_hand(pictures, plan, 1)
    found = executed(pictures, plan).models["student"].state_dict()
    for name, norm in zip(("stem.1", "stages0.norm", "stages1.norm", "stages2.norm"), norms, strict=True):
        torch.testing.assert_close(found[f"{NETWORK}{name}.running_mean"], norm.mean, rtol=0, atol=1e-6)
        torch.testing.assert_close(found[f"{NETWORK}{name}.running_var"], norm.var, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("share", "plain"), [(1, True), (0.5, False)])
def test_stochnorm_that_always_takes_the_batch_is_full(pictures: Bench, share: float, plain: bool) -> None:
    changes = ("stop.epochs=2", "stop.keep=last")
    found = executed(pictures, pictures.plan("stochnorm", *changes, f"edits.0.options={{p: {share}}}"))
    expected = executed(pictures, pictures.plan("full", *changes))
    assert (losses_of(found, "tune") == pytest.approx(losses_of(expected, "tune"), abs=1e-6)) is plain
