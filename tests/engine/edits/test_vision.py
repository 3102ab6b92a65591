"""Edits of timm's networks: fused queries, keys and values, and convolutions of classes of its own."""

from __future__ import annotations

import pytest
import torch

import regraft as rg
from regraft.core.task_spec import TaskSpec
from regraft.engine import execute
from regraft.engine.edits import Editing, edited
from regraft.linking import Blueprint, find_link
from regraft.plans import EditSpec, TrainStage
from regraft.sources import Source, find
from regraft.strategies import plan_for
from regraft.targets import prepare
from regraft.tasks import make_task
from tests.engine.conftest import SIZE, Bench

pytestmark = pytest.mark.vision

LAYERS = "blocks.{0..11}."
PLACES = {
    "lora": {LAYERS + "attn.qkv", LAYERS + "attn.proj"},
    "dora": {LAYERS + "attn.qkv", LAYERS + "attn.proj"},
    "ia3": {LAYERS + "attn.qkv", LAYERS + "mlp.fc2"},
    "adapters": {LAYERS + "attn.proj", LAYERS + "mlp.fc2"},
}


def planned(source: Source, strategy: str) -> EditSpec:
    """The edit that a strategy plans."""
    blueprint = Blueprint(source, (make_task(TaskSpec("label", "binary", ("no", "yes"))),))
    plan = plan_for(find_link(source, blueprint).fresh(), strategy)
    (stage,) = [stage for stage in plan.stages if isinstance(stage, TrainStage)]
    (spec,) = stage.edits
    return spec


@pytest.fixture(scope="module")
def vit(bench: Bench) -> Bench:
    """A vision transformer of timm's, small."""
    from timm.models import VisionTransformer

    torch.manual_seed(0)
    network = VisionTransformer(
        img_size=SIZE, patch_size=8, embed_dim=24, depth=2, num_heads=2, num_classes=0
    )
    source = rg.Source.from_module(network, rg.ImagePreprocessing(size=(SIZE, SIZE)), name="vit")
    return Bench(source, prepare(bench.target, source.preprocessing, workers=1))


@pytest.mark.parametrize("strategy", PLACES)
def test_the_fused_layer_is_found(vit: Bench, strategy: str) -> None:
    stage = vit.plan(strategy).stages[-1]
    assert isinstance(stage, TrainStage)
    assert set(stage.edits[0].match) == {one.replace("11", "1") for one in PLACES[strategy]}


@pytest.mark.parametrize("kind", ["lora", "dora", "ia3"])
def test_merged_layers_compute_what_the_edited_ones_did(vit: Bench, kind: str) -> None:
    model = vit.link().load().eval()
    pixels = vit.prepared.inputs.batch(vit.target.pool[:3])
    stage = vit.plan(kind).stages[-1]
    assert isinstance(stage, TrainStage)
    plain = model.trunk(pixels).detach()
    editing = Editing(model, stage.edits, seed=0, stage="tune")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in editing.tensors().values():
            tensor.add_(0.2 * torch.randn(tensor.shape, generator=generator))
        changed = model.trunk(pixels)
        editing.merge()
        assert torch.allclose(model.trunk(pixels), changed, atol=1e-5)
    assert not torch.allclose(changed, plain, atol=1e-2)


@pytest.mark.parametrize("strategy", ["lora:2", "adapters:2"])
def test_a_run_trains_them(vit: Bench, strategy: str) -> None:
    work = vit.open(vit.plan(strategy, "stop.epochs=1", "stop.keep=last", "groups.1.rate=0.02"))
    model = work.models["student"]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    execute(work)
    moved = {name for name, value in before.items() if not torch.equal(value, model.state_dict()[name])}
    heads = {name for name in moved if name.startswith("heads.")}
    if strategy == "lora:2":
        assert moved - heads == {
            f"trunk.network.blocks.{block}.attn.{layer}.weight"
            for block in (0, 1)
            for layer in ("qkv", "proj")
        }
    else:
        assert all(".norm" in name for name in moved - heads)
        assert len(model.trunk.added[0].places) == 4


def test_parallel_adapters_stand_beside_the_convolutions_of_a_resnet() -> None:
    source = find("timm:resnet18", pretrained=False)
    spec = planned(source, "parallel-adapters")
    model = Blueprint(source, ()).skeleton()
    with edited(model, (spec,)):
        added = {name.removeprefix("trunk.network.") for name in model.edited.added}
    assert added == {"conv1.parallel.weight"} | {
        f"layer{stage}.{block}.conv{number}.parallel.weight"
        for stage in (1, 2, 3, 4)
        for block in (0, 1)
        for number in (1, 2)
    }
