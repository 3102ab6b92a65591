"""What each strategy's plan trains and freezes, and what a strategy says to a wrong argument."""

from __future__ import annotations

import pytest
import torch

from regraft.core.errors import PlanError, RegraftError, UsageError
from regraft.engine.freezing import decide_freeze
from regraft.engine.patterns import block_of
from regraft.plans import Plan, SolveStage, TrainStage, plan_from_yaml, plan_to_yaml
from regraft.strategies import STRATEGIES, find_strategy
from tests.engine.conftest import Bench


def trained_blocks(bench: Bench, plan: Plan) -> set[str]:
    """Blocks that hold a trained parameter in the plan's one train stage."""
    (stage,) = [stage for stage in plan.stages if isinstance(stage, TrainStage)]
    model = bench.link().load()
    freeze = decide_freeze(model, stage.trainable, stage.frozen_prefix)
    return {block_of(model, name) for name in freeze.trainable}


@pytest.fixture(params=["images", "texts"])
def bench(request: pytest.FixtureRequest) -> Bench:
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize(("name", "solver"), [("probe", "ridge"), ("probe:logistic", "logistic")])
def test_a_probe_solves_the_head_and_trains_nothing(bench: Bench, name: str, solver: str) -> None:
    plan = bench.plan(name)
    (stage,) = plan.stages
    assert isinstance(stage, SolveStage)
    assert (stage.solver, stage.refit) == (solver, True)
    assert plan.models["student"].initialise == "linked"
    assert plan.models["student"].require == 1.0


def test_lpft_trains_the_last_blocks_that_hold_parameters(images: Bench, texts: Bench) -> None:
    assert trained_blocks(images, images.plan("lpft")) == {"blocks.14", "blocks.15", "conv_head", "head"}
    assert trained_blocks(images, images.plan("lpft:1")) == {"conv_head", "head"}
    assert trained_blocks(texts, texts.plan("lpft:2")) == {"layer.4", "layer.5", "head"}


def test_lpft_freezes_up_to_the_block_in_front_of_the_first_trained_one(images: Bench) -> None:
    stage = images.plan("lpft:2").stages[1]
    assert isinstance(stage, TrainStage)
    assert stage.frozen_prefix == "blocks.14"
    rates = {group.match[0]: group.rate for group in stage.groups}
    assert rates["blocks.15"] < rates["conv_head"]


def test_lpft_without_blocks_trains_the_head_on_features_that_are_computed_once(images: Bench) -> None:
    plan = images.plan("lpft:0")
    assert trained_blocks(images, plan) == {"head"}
    assert plan.stages[1].frozen_prefix == images.link().blueprint.skeleton().trunk.block_names[-1]


@pytest.mark.parametrize("name", ["lpft:all", "lpft:999", "full", "scratch", "scratch:slow"])
def test_everything_else_trains_every_block(bench: Bench, name: str) -> None:
    trunk = bench.link().blueprint.skeleton().trunk
    owners = {trunk.block_of(parameter) for parameter, _ in trunk.network.named_parameters()}
    assert trained_blocks(bench, bench.plan(name)) == {*owners, "head"}


OWN_HEAD = "needs what the source itself tells apart"
LACKING = {
    ("texts", "co-tuning"): OWN_HEAD,
    ("texts", "lwf"): OWN_HEAD,
    ("texts", "stochnorm"): "stochnorm changes batch norms, .*minilm has none: use full",
    (
        "texts",
        "parallel-adapters",
    ): "beside larger ones of one group, and these hold 0 .*: use adapters or lora",
    (
        "images",
        "parallel-adapters",
    ): "beside larger ones of one group, and these hold 0 .*: use adapters or lora",
}
"""What MiniLM, or EfficientNet-Lite0, lacks for a strategy to be planned."""


def test_only_scratch_starts_afresh(images: Bench) -> None:
    names = [name for name in STRATEGIES if ("images", name) not in LACKING]
    started = {name: images.plan(name).models["student"].initialise for name in names}
    assert {name for name, how in started.items() if how == "fresh"} == {"scratch"}


def test_a_plan_says_how_its_source_was_opened(images: Bench) -> None:
    assert images.plan("probe").models["student"].options == {"size": 32}


@pytest.mark.parametrize("name", [*STRATEGIES, "probe:logistic", "lpft:all", "scratch:fast", "wise-ft:0.5"])
def test_every_plan_survives_its_file(bench: Bench, name: str) -> None:
    kind = "texts" if "minilm" in bench.source.name else "images"
    if (kind, name) in LACKING:
        with pytest.raises(PlanError, match=LACKING[kind, name]):
            bench.plan(name)
        return
    plan = bench.plan(name, whole=True)
    assert plan_from_yaml(plan_to_yaml(plan)) == plan


def test_every_training_ends_with_a_temperature_and_a_way_back(images: Bench) -> None:
    *_, cooling, back = images.plan("lpft", whole=True).stages
    assert isinstance(cooling, SolveStage)
    assert cooling.solver == "temperature"
    assert isinstance(back, SolveStage)
    assert (back.refit, back.when) == (True, "unmoved")
    assert [stage.name for stage in images.plan("full", whole=True).stages] == ["tune", "temperature"]
    assert len(images.plan("probe", whole=True).stages) == 1


def edits(plan: Plan) -> tuple[str, ...]:
    """What the plan's one train stage edits."""
    (stage,) = [stage for stage in plan.stages if isinstance(stage, TrainStage)]
    (edit,) = stage.edits
    return edit.match


def test_adapters_go_to_attention_or_to_pointwise_convolutions(images: Bench, texts: Bench) -> None:
    attention = "encoder.layer.{0..5}.attention."
    inner = tuple(f"{attention}self.{name}" for name in ("query", "key", "value"))
    assert edits(texts.plan("lora")) == (*inner, f"{attention}output.dense")
    assert edits(texts.plan("ia3")) == (*inner[1:], "encoder.layer.{0..5}.output.dense")
    convolutions = ("_blocks.{0..15}._project_conv", "_blocks.{1..15}._expand_conv", "_conv_head")
    assert edits(images.plan("dora:4")) == convolutions == edits(images.plan("ia3"))
    assert images.plan("lora:4").stages[1].edits[0].options == {"rank": 4}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "prob",
            r"there is no strategy 'prob'\. Did you mean probe\? There are: probe, lpft, .*full, scratch",
        ),
        ("magic", r"there is no strategy 'magic'\. There are: probe"),
        ("", r"there is no strategy ''\. There are: probe"),
        ("probe:svm", "probe takes one of ridge, logistic, centroid, knn behind its colon; got 'svm'"),
        ("lpft:some", "lpft takes a number of blocks or 'all' behind its colon; got 'some'"),
        ("lpft:-1", "lpft takes a number of blocks or 'all' behind its colon; got '-1'"),
        ("full:2", "full takes nothing behind a colon; got '2'"),
        ("wise-ft:2", "wise-ft takes a share from 0 to 1 behind its colon; got '2'"),
        ("partial:few", "partial takes a number of blocks or 'all' behind its colon; got 'few'"),
        ("gradual:0", "gradual takes a number of groups behind its colon, as in gradual:3; got '0'"),
        ("layer-decay:2", "layer-decay takes a number above 0 and up to 1 behind its colon, .*; got '2'"),
        ("layer-decay:x", "layer-decay takes a number above 0 and up to 1 behind its colon, .*; got 'x'"),
        ("bitfit:2", "bitfit takes nothing behind a colon; got '2'"),
        ("lora:0", "lora takes a rank from 1 on behind its colon; got '0'"),
        ("dora:much", "dora takes a rank from 1 on behind its colon; got 'much'"),
        ("ia3:2", "ia3 takes nothing behind a colon; got '2'"),
        ("scratch:warp", "scratch takes slow or fast behind its colon; got 'warp'"),
    ],
)
def test_a_wrong_name_or_argument_says_what_there_is(name: str, message: str) -> None:
    with pytest.raises((UsageError, PlanError), match=message) as caught:
        find_strategy(name)
    assert isinstance(caught.value, RegraftError)


def test_every_strategy_says_when_to_use_it() -> None:
    assert all(len(kind.when) > 20 for kind in STRATEGIES.values())


def test_every_strategy_but_scratch_names_its_paper() -> None:
    assert [name for name, kind in STRATEGIES.items() if not kind.cite] == ["scratch"]


def trained_names(bench: Bench, plan: Plan) -> set[str]:
    """Parameters of the trunk that the plan's one train stage trains."""
    (stage,) = [stage for stage in plan.stages if isinstance(stage, TrainStage)]
    freeze = decide_freeze(bench.link().load(), stage.trainable, stage.frozen_prefix)
    return {name.removeprefix("trunk.network.") for name in freeze.trainable if name.startswith("trunk.")}


def test_bitfit_trains_biases_alone(bench: Bench) -> None:
    network = bench.link().blueprint.skeleton().trunk.network
    biases = {name for name, _ in network.named_parameters() if name.endswith("bias")}
    assert trained_names(bench, bench.plan("bitfit")) == biases
    assert sum(network.get_parameter(name).numel() for name in biases) < 0.01 * sum(
        value.numel() for value in network.parameters()
    )


def test_norm_only_trains_normalisation_layers_alone(bench: Bench) -> None:
    network = bench.link().blueprint.skeleton().trunk.network
    norms = {
        f"{place}.{name}"
        for place, module in network.named_modules()
        if isinstance(module, torch.nn.LayerNorm | torch.nn.BatchNorm2d)
        for name, _ in module.named_parameters()
    }
    assert trained_names(bench, bench.plan("norm-only")) == norms


def test_patterns_for_many_parameters_are_few(bench: Bench) -> None:
    for name in ("bitfit", "norm-only"):
        stage = bench.plan(name).stages[1]
        assert isinstance(stage, TrainStage)
        assert len(stage.trainable) < 25, stage.trainable


def test_gradual_unfreezes_from_the_head_down(texts: Bench) -> None:
    stages = [stage for stage in texts.plan("gradual:3").stages if isinstance(stage, TrainStage)]
    freed = [
        trained_blocks(texts, texts.plan("gradual:3").model_copy(update={"stages": (s,)})) for s in stages
    ]
    assert freed[0] == {"layer.4", "layer.5", "head"}
    assert freed[0] < freed[1] < freed[2]
    assert [stage.frozen_prefix for stage in stages if isinstance(stage, TrainStage)][-1] is None
    assert [stage.name for stage in stages] == ["unfreeze-1", "unfreeze-2", "tune"]
