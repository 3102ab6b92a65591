"""Strategies that edit the network, beside PyTorch loops in which hooks compute what the papers say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from regraft.engine.edits import Editing
from regraft.plans import Plan, TrainStage
from tests.engine.conftest import Bench
from tests.strategies.parity import (
    Group,
    as_whole_epochs,
    begin,
    losses_by_hand,
    losses_of_engine,
    within,
)

Change = Callable[[nn.Module, Tensor, Mapping[str, nn.Parameter]], Tensor]
"""What a layer gives, from the layer, what it reads and what the edit added there, by its last names."""

HEAD = Group(within("heads"), 1e-4)
BOTH = pytest.mark.parametrize("kind", ["pictures", "phrases"])


def linear(layer: Any, x: Tensor, weight: Tensor, *, bias: bool = True) -> Tensor:
    """What the layer would give with other weights."""
    added = layer.bias if bias else None
    if isinstance(layer, nn.Linear):
        return functional.linear(x, weight, added)
    return functional.conv2d(x, weight, added, layer.stride, layer.padding)


def dora(layer: Any, x: Tensor, added: Mapping[str, nn.Parameter]) -> Tensor:
    """Liu et al. 2024, equations 5 and 11: m (W x + 2 B A x) / |W + 2 B A| + b; alpha / r is 2."""
    down, up = (added[f"lora_{side}.default.weight"] for side in "AB")
    changed = layer.weight + 2 * (up.flatten(1) @ down.flatten(1)).view_as(layer.weight)
    norm = changed.detach().flatten(1).norm(dim=1)
    shape = (-1,) if isinstance(layer, nn.Linear) else (-1, 1, 1)
    narrow = linear(layer, x, down, bias=False)
    beside = functional.linear(narrow, up) if isinstance(layer, nn.Linear) else functional.conv2d(narrow, up)
    given = linear(layer, x, layer.weight, bias=False) + 2 * beside
    bias = 0 if layer.bias is None else layer.bias.view(shape)
    return (added["lora_magnitude_vector.default.weight"].flatten() / norm).view(shape) * given + bias


def ia3(layer: Any, x: Tensor, added: Mapping[str, nn.Parameter]) -> Tensor:
    """Liu et al. 2022, section 3.3: inputs of the second layer of a feed-forward pair, else outputs."""
    (factor,) = added.values()
    if isinstance(layer, nn.Linear) and factor.shape[0] == 1:
        return linear(layer, x * factor.flatten(), layer.weight)
    return linear(layer, x, layer.weight) * (factor.flatten() if isinstance(layer, nn.Linear) else factor)


def adapter(layer: Any, x: Tensor, added: Mapping[str, nn.Parameter]) -> Tensor:
    """Houlsby et al. 2019, figure 2."""
    given = linear(layer, x, layer.weight)
    rows = given if isinstance(layer, nn.Linear) else given.movedim(1, -1)
    down, up = (added[f"adapter.{side}.weight"].flatten(1) for side in ("down", "up"))
    narrow = functional.gelu(rows @ down.T + added["adapter.down.bias"])
    rows = rows + narrow @ up.T + added["adapter.up.bias"]
    return rows if isinstance(layer, nn.Linear) else rows.movedim(-1, 1)


def parallel(layer: Any, x: Tensor, added: Mapping[str, nn.Parameter]) -> Tensor:
    """Rebuffi et al. 2018, section 3.2."""
    (weight,) = added.values()
    return linear(layer, x, layer.weight) + functional.conv2d(x, weight, stride=layer.stride)


def assert_edit_parity(bench: Bench, plan: Plan, change: Change, *groups: Group) -> None:
    """The losses of ``tune`` are those of a loop in which ``change`` computes the edited layers."""
    plan = as_whole_epochs(plan, "schedule.name=constant", "schedule.warmup=0")
    (stage,) = [stage for stage in plan.stages if isinstance(stage, TrainStage)]
    hand = begin(bench, plan, "tune")
    editing = Editing(hand.model, stage.edits, seed=hand.work.draw.seed, stage=stage.name)
    drawn = {name.removeprefix("trunk.network."): value.clone() for name, value in editing.tensors().items()}
    paths = [one.path for _, one in editing.changes]
    editing.undo()
    hand.model.edits = nn.ParameterDict()
    for number, path in enumerate(paths):
        layer = hand.model.trunk.network.get_submodule(path)
        own = {n.removeprefix(f"{path}."): nn.Parameter(v) for n, v in drawn.items() if n.startswith(path)}
        hand.model.edits[str(number)] = nn.ParameterList(own.values())

        def hook(layer: Any, read: tuple[Tensor], _: Tensor, own: Any = own) -> Tensor:
            return change(layer, read[0], own)

        layer.register_forward_hook(hook)
    expected = losses_by_hand(hand, [HEAD, *groups])
    found = losses_of_engine(bench, plan, "tune")
    assert found == pytest.approx(expected, abs=1e-6, rel=0)
    assert max(abs(a - b) for a, b in pairwise(found)) > 2e-5


def bench_of(kind: str, request: pytest.FixtureRequest) -> Bench:
    bench: Bench = request.getfixturevalue(kind)
    return bench


def of_norms(name: str) -> bool:
    return ".norm." in name or "LayerNorm" in name or "stem.1." in name


@BOTH
@pytest.mark.parametrize(("strategy", "change", "rate"), [("dora:2", dora, 1e-3), ("ia3", ia3, 3e-3)])
def test_merged(
    kind: str, strategy: str, change: Change, rate: float, request: pytest.FixtureRequest
) -> None:
    bench = bench_of(kind, request)
    assert_edit_parity(bench, bench.plan(strategy), change, Group(within("edits"), rate))


@BOTH
def test_adapters(kind: str, request: pytest.FixtureRequest) -> None:
    bench = bench_of(kind, request)
    groups = (Group(within("edits"), 1e-3), Group(of_norms, 3e-4))
    assert_edit_parity(bench, bench.plan("adapters:3"), adapter, *groups)


def test_parallel_adapters(pictures: Bench) -> None:
    groups = (Group(within("edits"), 3e-4), Group(of_norms, 3e-4))
    assert_edit_parity(pictures, pictures.plan("parallel-adapters"), parallel, *groups)


@pytest.mark.parametrize(
    ("kind", "strategy"),
    [("pictures", "adapters"), ("phrases", "adapters"), ("pictures", "parallel-adapters")],
)
def test_with_edits_that_learn_nothing_norms_alone_are_trained(
    kind: str, strategy: str, request: pytest.FixtureRequest
) -> None:
    bench = bench_of(kind, request)
    changes = ("optimiser.clip=null", "schedule.name=constant", "schedule.warmup=0")
    still = as_whole_epochs(bench.plan(strategy, "groups.1.rate=0"), *changes)
    plain = as_whole_epochs(bench.plan("norm-only"), *changes)
    losses = losses_of_engine(bench, still, "tune")
    assert losses == pytest.approx(losses_of_engine(bench, plain, "tune"), abs=1e-6, rel=0)
    moving = as_whole_epochs(bench.plan(strategy), *changes)
    assert max(map(abs, torch.tensor(losses) - torch.tensor(losses_of_engine(bench, moving, "tune")))) > 1e-5
