from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn

from regraft.core.errors import UsageError
from regraft.core.task_spec import TaskSpec
from regraft.linking import Blueprint, pool_pieces
from regraft.linking.blueprint import list_slots
from regraft.linking.grafted import Grafted
from regraft.linking.showing.table import ranges
from regraft.sources import Block, Source, Trunk
from regraft.sources.skeleton import weightless
from regraft.tasks import make_task


def test_an_example_is_the_weighted_mean_of_its_pieces() -> None:
    features = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    pooled = pool_pieces(features, torch.tensor([0, 0, 1]), torch.tensor([0.25, 0.75, 1.0]), 2)
    assert torch.equal(pooled, torch.tensor([[2.5, 3.5], [5.0, 6.0]]))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=6))
def test_pooling_equals_a_loop(counts: list[int]) -> None:
    owners = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    features = torch.randn(len(owners), 3)
    shares = torch.tensor([1 / counts[owner] for owner in owners])
    expected = torch.stack([features[owners == i].mean(0) for i in range(len(counts))])
    assert torch.allclose(pool_pieces(features, owners, shares, len(counts)), expected, atol=1e-6)


def test_names_of_outputs_that_collide() -> None:
    trunk = Trunk(nn.Linear(1, 1), [], 1)
    with pytest.raises(UsageError, match=r"differ only in dots: a\.b, a_b"):
        Grafted(trunk, {"a.b": nn.Linear(1, 1), "a_b": nn.Linear(1, 1)})


def test_blueprint_on_the_meta_device(lite0: Source, blueprint: Callable[..., Blueprint]) -> None:
    with torch.device("meta"):
        model = blueprint(lite0).build()
    assert all(tensor.is_meta for tensor in model.state_dict().values())
    skeleton = blueprint(lite0).skeleton()
    assert all(parameter.is_meta for parameter in skeleton.parameters())
    assert not any(buffer.is_meta for buffer in skeleton.buffers())


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3, bias=False)
        self.second = nn.Linear(3, 3, bias=False)
        self.second.weight = self.first.weight
        self.register_buffer("places", torch.arange(3), persistent=False)


def test_skeleton_keeps_ties_and_unsaved_buffers() -> None:
    with weightless():
        network = Tied()
    assert network.second.weight is network.first.weight
    assert network.first.weight.is_meta
    assert network.places.tolist() == [0, 1, 2]  # type: ignore[union-attr, operator]
    assert not nn.Linear(1, 1).weight.is_meta
    model = Grafted(Trunk(network, [Block("all", lambda n, a, i: i["pixels"], ("",))], 3), {})
    slots = list_slots(model, (make_task(TaskSpec("label", "binary", ("no", "yes"))),))
    assert [slot.tied_to for slot in slots] == ["", "trunk.network.first.weight"]


def test_ranges() -> None:
    assert ranges({0, 1, 2, 5, 7, 8}) == "0..2,5,7..8"
