"""The price of a plan: seconds and bytes, before anything is run."""

from __future__ import annotations

import pytest

from regraft.engine import price as pricing
from regraft.engine.price import _Probe, price
from regraft.engine.rate_finder import STEPS
from regraft.engine.train_stage import TrainStageRun
from regraft.plans import Plan
from tests.engine.conftest import Bench

# Every forward pass of a block costs one, forward and backward of a step ten.
BLOCK, STEP = 1.0, 10.0


@pytest.fixture
def by_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count instead of timing: blocks run for one example, and steps."""
    monkeypatch.setattr(_Probe, "_forward", lambda self, cut: BLOCK * cut)
    monkeypatch.setattr(pricing, "timed", lambda work: STEP * 8)


@pytest.mark.usefixtures("by_count")
def test_a_frozen_prefix_is_paid_once_whoever_reads_it(bench: Bench) -> None:
    plan = bench.plan("lpft:1")
    found = price(plan, bench.target, bench.link())
    pool, test = len(bench.target.pool), len(bench.target.test)
    blocks = len(bench.link().load().trunk.blocks)
    tune = plan.stages[-1]
    # The solver reads the whole trunk, the stage what stands before its cut: together one pass over all.
    assert found.features == blocks * (pool + test)
    held = round(pool * plan.draw.validation)
    train = pool - held
    cut = bench.link().load().trunk.cut_after(tune.frozen_prefix)  # type: ignore[union-attr]
    epochs = tune.stop.epochs  # type: ignore[union-attr]
    assert found.stages == {"tune": STEP * train * epochs + (blocks - cut) * held * (epochs + 1)}
    assert found.examples == pool + test
    twice = plan.model_copy(update={"stages": (*plan.stages, tune.model_copy(update={"name": "again"}))})
    assert price(twice, bench.target, bench.link()).features == found.features


@pytest.mark.usefixtures("by_count")
def test_a_full_fine_tune_runs_nothing_frozen_and_auto_rates_are_tried(bench: Bench) -> None:
    plan = bench.plan("full", "streams.target.batch=8")
    found = price(plan, bench.target, bench.link())
    blocks = len(bench.link().load().trunk.blocks)
    assert found.features == blocks * len(bench.target.test)
    auto = bench.plan("full", "streams.target.batch=8", "groups.0.rate=auto")
    (more,) = price(auto, bench.target, bench.link()).stages.values()
    (less,) = found.stages.values()
    pool = len(bench.target.pool)
    per_epoch = -(-(pool - round(pool * plan.draw.validation)) // 8)
    assert more - less == pytest.approx(STEP * 8 * (STEPS + min(10, per_epoch)))


@pytest.mark.usefixtures("by_count")
def test_all_streams_of_a_step_are_paid_and_other_data_by_steps(bench: Bench) -> None:
    changes = ("streams.target.batch=8", "stages.tune.stop.steps=50", "stages.tune.trainable=[head]")
    whole = "stages.tune.frozen_prefix=null"  # nothing is judged behind a prefix: steps alone are counted
    plan = bench.plan("joint", "streams.source.batch=16", *changes, whole)
    held = round(len(bench.target.pool) * plan.draw.validation)
    train = len(bench.target.pool) - held
    blocks = len(bench.link().load().trunk.blocks)
    (found,) = price(plan, bench.target, bench.link()).stages.values()
    epochs = 50 / -(-train // 16)
    judged = blocks * held * (min(epochs, 20) + 1)
    # Of 24 examples in a step 16 are the leading stream's.
    assert found == pytest.approx(STEP * 1.5 * train * epochs + judged)


@pytest.mark.parametrize("strategy", ["lpft:1", "full"])
def test_memory_is_what_the_stage_itself_will_count(bench: Bench, strategy: str) -> None:
    plan = bench.plan(strategy, "streams.target.batch=16", "norm_statistics=frozen")
    found = price(plan, bench.target, bench.link())
    run = TrainStageRun(plan.stages[-1], bench.open(plan), None)  # type: ignore[arg-type]
    need = run.guard.predict()
    assert found.memory == {plan.stages[-1].name: pytest.approx(need.of(16), rel=0.15)}
    assert found.weights == sum(v.numel() * v.element_size() for v in run.model.state_dict().values())
    assert f"stage {plan.stages[-1].name!r}" in str(found).partition("Memory beside")[2]


def with_teacher(bench: Bench, *changes: str, **teacher: object) -> Plan:
    """The plan of ``lpft:1`` with a term that reads another model."""
    data = bench.plan("lpft:1", *changes).model_dump(mode="json")
    data["models"]["teacher"] = teacher or data["models"]["student"]
    data["stages"][-1]["terms"].append(
        {"computes": "distillation", "models": ["student", "teacher"], "streams": ["target"]}
    )
    return Plan.model_validate(data)


@pytest.mark.usefixtures("by_count")
def test_other_models_are_paid_once_where_they_are_frozen_and_in_each_step_where_they_move(
    bench: Bench,
) -> None:
    link, target = bench.link(), bench.target
    plain = price(bench.plan("lpft:1"), target, link)
    blocks = len(link.load().trunk.blocks)
    train = len(target.pool) - round(len(target.pool) * 0.2)
    once = price(with_teacher(bench), target, link)
    assert once.features - plain.features == blocks * train
    assert once.stages == plain.stages
    assert once.weights == 2 * plain.weights
    views = price(with_teacher(bench, "streams.target.views=3"), target, link)
    alone = price(bench.plan("lpft:1", "streams.target.views=3"), target, link)
    assert views.features - alone.features == 3 * blocks * train
    (moving,) = price(with_teacher(bench, average_of="student"), target, link).stages.values()
    (stage,) = (one for one in with_teacher(bench).stages if one.name == "tune")
    cut = link.load().trunk.cut_after(stage.frozen_prefix)  # type: ignore[union-attr]
    epochs = stage.stop.epochs  # type: ignore[union-attr]
    assert moving - plain.stages["tune"] == (blocks - cut) * train * epochs
    every = ("stages.tune.frozen_prefix=null", "streams.target.views=1")
    (steps,) = price(with_teacher(bench, *every), target, link).stages.values()
    (without,) = price(bench.plan("lpft:1", *every), target, link).stages.values()
    assert steps - without == blocks * train * epochs


def test_another_network_is_timed_and_weighed_itself(bench: Bench) -> None:
    link, target = bench.link(), bench.target
    plan = with_teacher(bench, source="packaged:efficientnet-lite1", options={"size": 64})
    plain, found = price(bench.plan("lpft:1"), target, link), price(plan, target, link)
    assert found.weights > 2.1 * plain.weights  # 4.2 million numbers beside 3.4
