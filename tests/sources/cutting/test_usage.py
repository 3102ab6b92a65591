"""What a network's blocks use that has no tensors, and what draws random numbers in them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from regraft.sources import build_trunk, from_module


class Path(nn.Module):
    """Stochastic depth: gives what it is given in eval mode, and leaves no trace in a graph."""

    def forward(self, values: Tensor) -> Tensor:
        return values * (torch.rand(len(values), 1, 1, 1) > 0.2) if self.training else values


class Shared(nn.Module):
    """One dropout and one path for all steps; another dropout that is called in training only."""

    def __init__(self, branching: bool = False) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.steps = nn.ModuleList(nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU()) for _ in range(3))
        self.path, self.drop, self.rare, self.unused = Path(), nn.Dropout(0.5), nn.Dropout(), nn.Dropout()
        self.branching = branching

    def forward(self, pixels: Tensor) -> Tensor:
        pixels = self.norm(self.stem(pixels))
        for number, step in enumerate(self.steps):
            pixels = step(pixels)
            if number < 2:
                pixels = self.drop(self.path(pixels))
            if number == 1 and self.training:
                pixels = self.rare(pixels)
        if self.branching and bool(pixels.sum() > 1e9):
            pixels = -pixels
        return pixels


@pytest.mark.parametrize("branching", [False, True])
def test_a_module_without_tensors_is_used_by_all_blocks_that_run_it(
    cutting: SimpleNamespace, branching: bool
) -> None:
    trunk = cutting.trunk_of(Shared(branching), cutting.image_steps(12))
    before = {name: value.clone() for name, value in trunk.state_dict().items()}
    assert set(trunk.block_names) >= {"steps.0", "steps.1", "steps.2"}
    users = trunk.users
    # A cut lies in front of a step's own module, so what follows one still belongs to it.
    first, second = users["steps.0.1"], users["steps.1.1"]
    between = {"steps.1", "steps.2"} if branching else {"steps.0", "steps.1"}
    assert (first, second) == ({"steps.0"}, {"steps.1"})
    assert users["drop"] == users["path"] == between
    assert users["rare"] == {max(between)}
    assert not {"unused", "stem", "steps.0", ""} & users.keys()
    assert all(torch.equal(value, before[name]) for name, value in trunk.state_dict().items())
    source = from_module(Shared(branching), cutting.image_steps(12), name="shared")
    with torch.device("meta"):
        skeleton = build_trunk(source)
    assert skeleton.users == users


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(60, 8)
        self.stack = nn.GRU(8, 8, num_layers=2, batch_first=True)
        self.drop, self.last = nn.Dropout(), nn.Linear(8, 8)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        given: Tensor = self.last(self.drop(self.stack(self.embedding(ids))[0]))
        return given


def test_what_follows_a_recurrent_stack_is_behind_its_layers(cutting: SimpleNamespace) -> None:
    trunk = cutting.trunk_of(Recurrent(), cutting.text_steps())
    assert trunk.users["drop"] <= {"stack.layer.1", "last"}
    assert trunk.users["drop"]


class Rarely(nn.Module):
    """Noise for one example in a thousand, whatever the mode."""

    def forward(self, values: Tensor) -> Tensor:
        chosen = torch.rand(len(values), 1, 1, 1) < 1e-3
        return torch.where(chosen, values + torch.randn_like(values), values)


class Attending(nn.Module):
    """Attention's own dropout is off: it draws nothing, though torch tags it as what may."""

    def __init__(self, rarely: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.steps = nn.ModuleList(nn.Conv2d(4, 4, 1) for _ in range(3))
        self.noise = Rarely() if rarely else nn.Dropout()

    def forward(self, pixels: Tensor) -> Tensor:
        pixels = self.stem(pixels)
        pixels = functional.scaled_dot_product_attention(pixels, pixels, pixels)
        for number, step in enumerate(self.steps):
            pixels = step(pixels)
            if number == 1:
                pixels = self.noise(pixels)
        return pixels


def test_random_operations_are_named_with_their_module(cutting: SimpleNamespace) -> None:
    trunk = cutting.trunk_of(Attending(rarely=True), cutting.image_steps(12))
    assert trunk.block_names == ("stem", "steps.0", "steps.1", "steps.2", "pool")
    assert trunk.chance(cut=2) is None
    assert trunk.chance(cut=3) == trunk.chance(cut=5) == "noise (Rarely) draws random numbers (rand)"
    asleep = cutting.trunk_of(Attending(rarely=False).train(), cutting.image_steps(12))
    assert asleep.chance(cut=5) is None
