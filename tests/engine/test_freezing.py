"""What is frozen stays as it is, to the bit, and in eval mode."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from regraft.core.errors import PlanError, TrainingError
from regraft.core.hashing import hash_tensors
from regraft.core.preprocessing import ImagePreprocessing
from regraft.engine import execute
from regraft.engine.forward import Forward
from regraft.engine.freezing import decide_freeze, torn
from regraft.engine.optimiser import make_optimiser
from regraft.engine.patterns import block_of, expand
from regraft.linking import Grafted
from regraft.plans import GroupSpec, OptimiserSpec
from regraft.sources import Trunk
from regraft.sources.module import _whole as run_whole
from tests.engine.conftest import Bench
from tests.inference.small import Pictures

SHORT = ("stop.epochs=2", "stop.keep=last")


def test_frozen_weights_and_buffers_do_not_move(bench: Bench) -> None:
    work = bench.open(bench.plan("lpft:2", *SHORT))
    model = work.models["student"]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    execute(work)
    moved = {block_of(model, n) for n, t in model.state_dict().items() if not torch.equal(t, before[n])}
    assert moved == {"blocks.15", "conv_head", "head"}


def test_frozen_blocks_are_in_eval_mode_and_moving_ones_are_not(bench: Bench) -> None:
    model = bench.open(bench.plan("probe")).models["student"]
    freeze = decide_freeze(model, ("blocks.15", "head"), "blocks.14")
    freeze.set_modes(model)
    norms = {
        name: module.training
        for name, module in model.trunk.network.named_modules()
        if isinstance(module, nn.BatchNorm2d)
    }
    assert {name for name, training in norms.items() if training} == {f"_blocks.15._bn{i}" for i in range(3)}
    assert model.heads.training
    still = decide_freeze(model, ("blocks.15", "head"), "blocks.14", norm_moves=False)
    still.set_modes(model)
    assert not model.trunk.network.get_submodule("_blocks.15._bn0").training


def test_a_frozen_tensor_that_moves_is_noticed(bench: Bench) -> None:
    model = bench.open(bench.plan("probe")).models["student"]
    freeze = decide_freeze(model, ("head",), "blocks.14")
    before = freeze.fingerprint(model)
    freeze.check(model, before)
    with torch.no_grad():
        dict(model.named_buffers())["trunk.network._bn0.running_mean"][0] += 1e-7
    with pytest.raises(TrainingError, match="frozen weight or buffer changed"):
        freeze.check(model, before)


def test_a_trained_parameter_without_a_group_is_an_error(bench: Bench) -> None:
    model = bench.open(bench.plan("probe")).models["student"]
    freeze = decide_freeze(model, ("blocks.15", "head"), None)
    groups = (GroupSpec(match=("head",), rate=1e-3),)
    with pytest.raises(PlanError, match=r"belong to no group: trunk\.network\._blocks\.15"):
        make_optimiser(model, freeze, groups, OptimiserSpec())
    strange = (GroupSpec(match=("*",), rate=1e-3), GroupSpec(match=("stem",), rate=1e-3))
    with pytest.raises(PlanError, match="stem matches no trained parameter"):
        make_optimiser(model, freeze, strange, OptimiserSpec())


def test_every_trained_parameter_is_in_the_optimiser_once(bench: Bench) -> None:
    model = bench.open(bench.plan("probe")).models["student"]
    freeze = decide_freeze(model, ("*",), None)
    groups = (GroupSpec(match=("head",), rate=1e-3), GroupSpec(match=("*",), rate=1e-4))
    optimiser = make_optimiser(model, freeze, groups, OptimiserSpec())
    held = [id(p) for group in optimiser.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters())


def test_prefix_and_patterns_may_not_contradict(bench: Bench) -> None:
    model = bench.open(bench.plan("probe")).models["student"]
    with pytest.raises(PlanError, match=r"holds layers that are to be trained: blocks\.3"):
        decide_freeze(model, ("blocks.3",), "blocks.5")
    with pytest.raises(PlanError, match=r"no layer is called 'blocks\.99'"):
        decide_freeze(model, ("blocks.99",), None)


def test_ranges_are_spelled_out() -> None:
    assert expand("blocks.{9..11}") == ["blocks.9", "blocks.10", "blocks.11"]
    assert expand("head") == ["head"]


def test_the_trunk_of_a_probe_is_the_sources_to_the_bit(bench: Bench) -> None:
    work = bench.open(bench.plan("probe"))
    before = hash_tensors(work.models["student"].trunk.state_dict())
    execute(work)
    assert hash_tensors(work.models["student"].trunk.state_dict()) == before


class Dropping(nn.Module):
    """Drops by what the whole is told, between its blocks and behind the last of them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.steps = nn.ModuleList(nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU()) for _ in range(3))
        self.last = nn.Dropout(0.5)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        pixels = self.stem(pixels)
        for step in self.steps:
            pixels = step(pixels)
        return self.last(nn.functional.dropout(pixels.mean((2, 3)), 0.5, self.training))


@pytest.mark.parametrize(
    ("trainable", "prefix", "whole", "last"),
    [
        (("*",), None, True, True),
        (("steps.2", "head"), "steps.0", False, True),
        (("head",), None, False, False),
    ],
)
def test_what_spans_blocks_or_has_no_weights_follows_them(
    trainable: tuple[str, ...], prefix: str | None, whole: bool, last: bool
) -> None:
    trunk = Trunk(Dropping(), run_whole, 4, reads=ImagePreprocessing(size=(8, 8)))
    model = Grafted(trunk, {"label": nn.Linear(4, 2)})
    assert trunk.block_names == ("stem", "steps.0", "steps.1", "steps.2", "pool")
    decide_freeze(model, trainable, prefix).set_modes(model)
    assert (trunk.network.training, trunk.network.last.training) == (whole, last)


class Sharing(nn.Module):
    """One dropout behind each of its steps."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.steps = nn.ModuleList(nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU()) for _ in range(3))
        self.drop = nn.Dropout(0.5)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        pixels = self.stem(pixels)
        for step in self.steps:
            pixels = self.drop(step(pixels))
        return pixels.mean((2, 3))


def test_a_dropout_on_both_sides_of_a_cut_is_on_where_layers_train_and_off_in_the_prefix() -> None:
    trunk = Trunk(Sharing(), run_whole, 4, reads=ImagePreprocessing(size=(8, 8)))
    model = Grafted(trunk, {"label": nn.Linear(4, 2)})
    freeze = decide_freeze(model, ("steps.1", "head"), "steps.0")
    freeze.set_modes(model)
    assert trunk.network.drop.training
    assert torn(model, freeze).startswith(
        "drop (Dropout) is run by steps.1, which train, and by pool, which are frozen: it has one mode"
    )
    assert torn(model, decide_freeze(model, ("steps.1", "steps.2", "head"), "steps.0")) == ""
    batch = {"pixels": torch.randn(4, 3, 8, 8)}
    live = Forward(model, Pictures(4), torch.device("cpu"), None, cut=2)  # type: ignore[arg-type]
    first = live.activation(np.arange(4), None, batch)
    assert first is not None
    again = live.activation(np.arange(4), None, batch)
    assert again is not None
    assert torch.equal(first, again), "the prefix runs in eval mode"
    assert trunk.network.drop.training
    outputs = [live(np.arange(4), made=lambda: batch)["label"] for _ in range(2)]
    assert not torch.equal(*outputs), "dropout is on behind the cut"
