"""Edits that cannot be merged stay: in later stages, checkpoints, the bundle and what grows on it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

import regraft as rg
from regraft.core.errors import PlanError
from regraft.engine import execute, write_model
from regraft.engine.checkpoint import Checkpoints
from regraft.engine.edits import edited
from regraft.engine.price import price
from regraft.engine.sets import planned_sets
from regraft.inference.predictor import Predictor
from regraft.plans import EditSpec, Plan
from regraft.sources import find
from tests.engine.conftest import Bench
from tests.engine.edits.conftest import BUILDERS
from tests.engine.test_resume import bare_lines, stop, weights

CHANGES = ("stop.epochs=2", "streams.target.batch=16", "stop.keep=last", "groups.1.rate=0.02")
BOTH = pytest.mark.parametrize("kind", ["attention", "convolutional"])


@pytest.fixture
def small(request: pytest.FixtureRequest, kind: str) -> Bench:
    bench: Bench = request.getfixturevalue(kind)
    return bench


def in_two_stages(bench: Bench) -> Plan:
    """Adapters, then more of their training together with the last block."""
    plan = bench.plan("adapters:3", *CHANGES)
    last = plan.stages[1].model_copy(
        update={"name": "again", "edits": (), "trainable": ("adapter", "two.*", "head")}
    )
    if "second" in bench.link().graft.skeleton().trunk.block_names:
        last = last.model_copy(update={"trainable": ("adapter", "second", "head")})
    last = last.model_copy(update={"groups": (last.groups[0].model_copy(update={"match": ("*",)}),)})
    return plan.model_copy(update={"stages": (*plan.stages, last)})


@BOTH
def test_it_begins_as_nothing_and_leaves_nothing_where_it_is_only_tried(small: Bench) -> None:
    model = small.link().load().eval()
    batch = small.prepared.inputs.batch(small.target.pool[:3])
    plain, modules = model.trunk(batch), dict(model.named_modules())
    with edited(model, small.plan("adapters:3").stages[1].edits):  # type: ignore[union-attr]
        assert torch.equal(model.trunk(batch), plain)
        assert dict(model.named_modules()).keys() > modules.keys()
    assert dict(model.named_modules()) == modules
    assert model.trunk.added == ()


@BOTH
def test_the_bundle_rebuilds_the_network_and_grows_on(small: Bench, kind: str, tmp_path: Path) -> None:
    work = small.open(small.plan("adapters:3", *CHANGES))
    model = work.models["student"]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    execute(work)
    (added,) = model.trunk.added
    places = {"attention": 4, "convolutional": 3}
    assert len(added.places) == places[kind]
    assert model.state_dict().keys() - before.keys() == {
        f"trunk.network.{place}.adapter.{side}.{leaf}"
        for place in added.places
        for side in ("down", "up")
        for leaf in ("weight", "bias")
    }
    assert all(torch.equal(model.state_dict()[f"trunk.network.{place}.weight"],
                           before[f"trunk.network.{place}.weight"]) for place in added.places)  # fmt: skip
    write_model(tmp_path, model, small.source, work.tasks)
    facts = json.loads((tmp_path / "model.json").read_text())
    assert facts["builder"]["added"] == [added.to_json()]

    predictor = Predictor.load(tmp_path, builder=BUILDERS[kind])
    inputs = small.prepared.inputs
    expected = work.logits(small.target.test)["label"]
    assert abs(predictor.logits_of(inputs, small.target.test)["label"] - expected).max() < 1e-5

    again = Bench(find(f"bundle:{tmp_path}", builder=BUILDERS[kind]), small.prepared)
    link = again.link().require(1.0)
    assert {row.target for row in link.rows if row.kind == "parameter" and not row.carried} == set()
    further = again.plan("full", "trainable=[adapter, head]", "stop.epochs=1", "stop.keep=last",
                         "groups=[{match: ['*'], rate: 0.01}]")  # fmt: skip
    grown = again.open(further)
    start = weights(grown)
    execute(grown)
    assert weights(grown) != start
    assert grown.models["student"].trunk.added == (added,)


@BOTH
@pytest.mark.parametrize("after", [5, 11])
def test_a_run_that_was_stopped_goes_on_to_the_bit(
    small: Bench, after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the stage that adds them, and in the one behind it."""
    plan = in_two_stages(small)
    whole = small.open(plan)
    execute(whole)
    stop(small.open(plan, folder=tmp_path, checkpoint_seconds=0.0), after, monkeypatch)
    checkpoint = Checkpoints(tmp_path / "checkpoints").newest()
    assert checkpoint is not None
    assert bool(checkpoint.state["added"]["student"]) == (after > 8)
    resumed = small.open(plan, folder=tmp_path, checkpoint_seconds=0.0)
    execute(resumed)
    assert weights(resumed) == weights(whole)
    assert bare_lines(resumed.history.lines) == bare_lines(whole.history.lines)
    assert resumed.trained_parameters == whole.trained_parameters
    assert resumed.models["student"].trunk.added == whole.models["student"].trunk.added != ()


@BOTH
def test_what_is_planned_for_a_later_stage_knows_them(small: Bench) -> None:
    plan = in_two_stages(small)
    first, second = planned_sets(plan, small.link().graft.skeleton())
    assert second.total == first.total > small.link().graft.skeleton().trunk.width
    assert second.parameters > 0
    assert set(price(plan, small.target, small.link()).memory) == {"tune", "again"}
    execute(work := small.open(plan))
    assert work.trained_parameters <= sum(p.numel() for p in work.models["student"].parameters())


def test_a_place_takes_one_adapter(attention: Bench) -> None:
    plan = attention.plan("adapters:3", *CHANGES)
    again = plan.stages[1].model_copy(update={"name": "again"})
    with pytest.raises(PlanError, match=r"'adapter' is to change .*, where it finds no layer"):
        attention.open(plan.model_copy(update={"stages": (*plan.stages, again)}))


def test_averages_over_networks_that_are_not_alike_are_refused(attention: Bench) -> None:
    plan = attention.plan("adapters:3", *CHANGES)
    data = plan.model_dump(mode="json")
    data["stages"].append({"kind": "average", "name": "mean", "of": ["initial", "tune"], "rule": "mean"})
    with pytest.raises(PlanError, match=r"have other tensors: .*\.adapter\."):
        execute(attention.open(Plan.model_validate(data)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, r"the edit 'adapter': the width .* from 1 to 65536; got 0"),
        ({"activation": "sine"}, r"the edit 'adapter': .* one of gelu, relu, tanh; got 'sine'"),
        ({"rank": 2}, r"takes no option rank; it takes width, activation"),
    ],
)
def test_options_that_no_adapter_has(attention: Bench, options: dict[str, object], message: str) -> None:
    with (
        pytest.raises(PlanError, match=message),
        edited(attention.link().load(), (EditSpec(edit="adapter", options=options),)),
    ):
        pass


def test_a_real_run_from_fit_to_predict_evaluate_and_export(photos: Path, tmp_path: Path) -> None:
    link = rg.link("packaged:efficientnet-lite0", rg.Target.from_images(photos), size=32)
    plan = rg.plan(link, "adapters:4", settings=["stop.epochs=1", "stop.keep=last"])
    out = tmp_path / "run"
    run = rg.fit(plan, photos, out=out, settings=rg.Settings("cpu", backend="eager"))
    assert run.status == "done"
    (item,) = rg.Run.load(out).predict([str(next(photos.rglob("*.png")))])
    assert item["label"]
    assert rg.evaluate(out, photos)["count"] > 0
    assert rg.export(out, to="onnx")["max_relative_difference"] < 1e-5
    file = rg.export(out, to="safetensors")["file"]
    with safe_open(file, "pt") as opened:
        (said,) = json.loads(opened.metadata()["added"])
        assert f"{said['places'][0]}.adapter.down.weight" in opened.keys()  # noqa: SIM118
