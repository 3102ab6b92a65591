"""What a graph of a network depends on is noticed when it is edited, and tells copies of it alike."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from regraft.sources.cutting.description import Glance, describe_network, describe_state


class Slotted:
    __slots__ = ("factor",)

    def __init__(self, factor: float):
        self.factor = factor

    def __call__(self, values: Tensor) -> Tensor:
        return values * self.factor

    def times(self, values: Tensor) -> Tensor:
        return values * self.factor


class Step(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 1)
        self.settings: dict[str, Any] = {"gain": 1.0, "inner": {"gain": 1.0}}
        self.factors = [1.0, [1.0]]
        self.act: Callable[[Tensor], Tensor] = partial(functional.leaky_relu, negative_slope=0.1)
        self.table = np.ones(1, np.float32)
        self.number = np.float64(1.0)
        self.slotted = Slotted(1.0)
        self.bound = Slotted(1.0).times
        self.kind = torch.float32
        self.hidden = [nn.Conv2d(3, 3, 1)]

    def forward(self, values: Tensor) -> Tensor:
        values = self.act(self.layer(values)) * self.settings["gain"] * self.settings["inner"]["gain"]
        values = values * self.factors[0] * self.factors[1][0] * float(self.table[0]) * float(self.number)
        return self.hidden[0](self.bound(self.slotted(values))).to(self.kind).float()


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.ModuleList(Step() for _ in range(3))

    def forward(self, pixels: Tensor) -> Tensor:
        for step in self.steps:
            pixels = step(pixels)
        return pixels.mean((2, 3))


def replace_hook(step: Any) -> None:
    hooks = step.layer._forward_hooks
    hooks.clear()
    step.layer.register_forward_hook(lambda module, given, gave: 3 * gave)


EDITS: dict[str, Callable[[Any], Any]] = {
    "an entry of a dict": lambda step: step.settings.update(gain=3.0),
    "an entry of a dict in a dict": lambda step: step.settings["inner"].update(gain=3.0),
    "an entry of a list": lambda step: step.factors.__setitem__(0, 3.0),
    "an entry of a list in a list": lambda step: step.factors[1].__setitem__(0, 3.0),
    "a partial": lambda step: setattr(step, "act", partial(functional.leaky_relu, negative_slope=0.5)),
    "a value in an array": lambda step: step.table.__setitem__(0, 3.0),
    "an array": lambda step: setattr(step, "table", np.full(1, 3, np.float32)),
    "a number of numpy": lambda step: setattr(step, "number", np.float64(3.0)),
    "a slot": lambda step: setattr(step.slotted, "factor", 3.0),
    "whose method it is": lambda step: setattr(step, "bound", Slotted(3.0).times),
    "a kind of numbers": lambda step: setattr(step, "kind", torch.bfloat16),
    "a layer that is not registered": lambda step: step.hidden.__setitem__(0, nn.Conv2d(3, 3, 1)),
    "a hook": replace_hook,
}


@pytest.fixture
def network() -> Net:
    made = Net().eval()
    for step in made.steps:
        step.layer.register_forward_hook(lambda module, given, gave: 2 * gave)
    return made


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_is_noticed(network: Net, edit: str) -> None:
    glance, state = Glance(network), describe_state(network, own=True)
    assert (Glance(network), describe_state(network, own=True)) == (glance, state)
    EDITS[edit](network.steps[1])
    assert Glance(network) != glance
    assert describe_state(network, own=True) != state


def test_copies_are_described_alike(network: Net) -> None:
    assert describe_network(copy.deepcopy(network)) == describe_network(network)


@pytest.mark.parametrize("edit", ["an entry of a dict", "a partial", "a hook"])
def test_an_edited_network_is_cut_as_it_is(cutting: SimpleNamespace, edit: str) -> None:
    steps = cutting.image_steps(8)
    trunk = cutting.trunk_of(Net().eval(), steps)
    for step in trunk.network.steps:
        step.layer.register_forward_hook(lambda module, given, gave: 2 * gave)
    cutting.assert_exact(trunk, cutting.batch_of(steps))
    EDITS[edit](trunk.network.steps[1])
    cutting.assert_exact(trunk, cutting.batch_of(steps))
