"""Parity: the losses of a plan's train stage equal those of a loop written by hand.

Every step of the engine reads all training examples at once, an epoch a step, so that its history holds the
loss of each step and nothing else of the engine is looked at. The loop by hand starts from what the stages
before it left and says itself what is trained, at which rates and by which loss.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from regraft.engine import Workspace, execute
from regraft.linking import Grafted
from regraft.linking.grafted import head_key, pool_pieces
from regraft.plans import Plan, change_plan
from tests.engine.conftest import Bench

STEPS = 5
WHOLE_EPOCHS = (
    f"stop.epochs={STEPS}",
    "stop.patience=null",
    "stop.keep=last",
)


def as_whole_epochs(plan: Plan, *changes: str) -> Plan:
    """The plan with one step an epoch: every stream gives all its examples at once, as they are."""
    streams = [f"streams.{name}.{key}" for name in plan.streams for key in ("batch=1000", "views=0")]
    return change_plan(plan, [*WHOLE_EPOCHS, *streams, *changes])


def losses_of_engine(bench: Bench, plan: Plan, stage: str) -> list[float]:
    """The loss of each step of a stage, from the history of the whole plan."""
    work = bench.open(plan)
    execute(work)
    return [line["loss"] for line in work.history.lines if (line["stage"], line["kind"]) == (stage, "train")]


@dataclass
class Hand:
    """What a loop by hand works with: the model as the stages before left it, and all training examples.

    ``start`` is a copy of the model that nothing trains.
    """

    work: Workspace
    model: Grafted
    start: Grafted = field(init=False)

    def __post_init__(self) -> None:
        self.start = copy.deepcopy(self.model).eval().requires_grad_(False)

    @cached_property
    def pieces(self) -> np.ndarray:
        """Every piece of the training examples, example by example."""
        owners = np.asarray(self.work.inputs.owners)
        return np.concatenate([np.flatnonzero(owners == one) for one in self.work.draw.train])

    @cached_property
    def batch(self) -> Mapping[str, Tensor]:
        """What the network reads of them."""
        return self.work.inputs.batch(self.pieces)

    @property
    def labels(self) -> dict[str, Tensor]:
        """By output."""
        return self.work.labels(self.work.draw.train)

    def pooled(self, features: Tensor) -> Tensor:
        """The mean over each example's pieces."""
        numbers = {int(one): index for index, one in enumerate(self.work.draw.train)}
        owners = np.asarray(self.work.inputs.owners)[self.pieces]
        weights = torch.from_numpy(np.asarray(self.work.inputs.weights)[self.pieces])
        index = torch.tensor([numbers[int(one)] for one in owners])
        return pool_pieces(features, index, weights, len(numbers))

    def features(self, model: Grafted | None = None) -> Tensor:
        """Pooled features of all training examples, ``(examples, width)``."""
        return self.pooled((model or self.model).trunk(self.batch))

    def logits(self, output: str = "label") -> Tensor:
        """What the head of an output gives, ``(examples, classes)``."""
        head: nn.Module = self.model.heads[head_key(output)]
        logits: Tensor = head(self.features())
        return logits


def begin(bench: Bench, plan: Plan, stage: str) -> Hand:
    """The state in which a stage begins."""
    index = next(number for number, one in enumerate(plan.stages) if one.name == stage)
    stages = plan.stages[:index]
    work = bench.open(plan.model_copy(update={"stages": stages}) if stages else plan)
    if stages:
        execute(work)
    return Hand(work, work.models["student"])


def cross_entropy(hand: Hand) -> Tensor:
    """The plain objective of one output with classes, ``label``."""
    return functional.cross_entropy(hand.logits(), hand.labels["label"])


@dataclass(frozen=True)
class Group:
    """Parameters that a loop by hand trains, and their peak rate."""

    named: Callable[[str], bool]
    rate: float
    weight_decay: float = 0.0


def within(*prefixes: str) -> Callable[[str], bool]:
    """Whether a parameter's name begins with one of these; ``heads`` or ``trunk.network.BLOCK``."""
    return lambda name: name.startswith(prefixes)


def losses_by_hand(
    hand: Hand,
    groups: Sequence[Group],
    *,
    loss: Callable[[Hand], Tensor] = cross_entropy,
    factor: Callable[[int], float] = lambda step: 1.0,
    train_mode: Callable[[str, nn.Module], bool] = lambda name, module: False,
    steps: int = STEPS,
) -> list[float]:
    """Losses of a plain PyTorch loop with AdamW and clipping at norm 1.

    ``factor(step)`` is the schedule; ``train_mode(name, module)`` says which modules are in training mode,
    all others are in ``eval()``. A parameter belongs to the first group that names it; one with fewer than
    two dimensions has no weight decay; one that no group names is frozen.
    """
    settings = []
    homes = {
        name: next((number for number, group in enumerate(groups) if group.named(name)), None)
        for name, _ in hand.model.named_parameters()
    }
    for name, parameter in hand.model.named_parameters():
        home = homes[name]
        parameter.requires_grad_(home is not None)
        if home is not None:
            decay = groups[home].weight_decay if parameter.ndim > 1 else 0.0
            settings.append({"params": [parameter], "peak": groups[home].rate, "weight_decay": decay})
    optimiser = torch.optim.AdamW(settings)
    for name, module in hand.model.eval().named_modules():
        module.training = train_mode(name, module)
    losses = []
    for step in range(steps):
        for one in optimiser.param_groups:
            one["lr"] = one["peak"] * factor(step)
        optimiser.zero_grad()
        found = loss(hand)
        found.backward()
        torch.nn.utils.clip_grad_norm_([p for one in optimiser.param_groups for p in one["params"]], 1.0)
        optimiser.step()
        losses.append(found.item())
    return losses


def assert_parity(
    bench: Bench,
    plan: Plan,
    groups: Sequence[Group],
    *,
    stage: str = "tune",
    tolerance: float = 1e-6,
    loss: Callable[[Hand], Tensor] = cross_entropy,
    factor: Callable[[int], float] | None = None,
    train_mode: Callable[[str, nn.Module], bool] = lambda name, module: False,
) -> list[float]:
    """The stage's losses, which equal those of the loop by hand; the rate is constant without ``factor``.

    Losses that stay the same would show nothing, so they are refused.
    """
    constant = () if factor else ("schedule.name=constant", "schedule.warmup=0")
    plan = as_whole_epochs(plan, *constant)
    found = losses_of_engine(bench, plan, stage)
    expected = losses_by_hand(
        begin(bench, plan, stage),
        groups,
        loss=loss,
        factor=factor or (lambda step: 1.0),
        train_mode=train_mode,
    )
    assert len(found) == STEPS
    assert found == pytest.approx(expected, abs=tolerance, rel=0)
    assert max(abs(a - b) for a, b in pairwise(found)) > 20 * tolerance
    return found
