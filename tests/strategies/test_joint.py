"""joint and multitask: what their plans say, and one run over other data with classes of their own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import regraft as rg
from regraft.core.errors import PlanError
from regraft.plans import Learned, Plan, Schedule, plan_from_yaml, plan_to_yaml
from regraft.strategies import find_strategy
from tests.engine.conftest import Bench, last_line
from tests.strategies.parity import as_whole_epochs, losses_of_engine


def weights_of(plan: Plan) -> list[object]:
    return [term.weight for term in plan.stages[-1].terms]  # type: ignore[union-attr]


def test_lambda_is_a_number_or_learned(tiny_images: Bench) -> None:
    assert weights_of(tiny_images.plan("joint")) == [1.0, 1.0]
    assert weights_of(tiny_images.plan("joint:0.3")) == [1.0, 0.3]
    assert weights_of(tiny_images.plan("joint:learned")) == [Learned(learned="alignment"), 1.0]
    uncertain = Learned(learned="uncertainty")
    assert weights_of(tiny_images.plan("joint:uncertainty")) == [uncertain, uncertain]
    plan = tiny_images.plan("joint:learned")
    assert plan_from_yaml(plan_to_yaml(plan)) == plan
    assert (plan.streams["source"].reads, plan.streams["source"].heads) == ("source", "own")
    assert [stage.name for stage in plan.stages] == ["source-head", "head", "tune"]
    assert plan.stages[0].streams == ("source",)  # type: ignore[union-attr]
    moves = [1.0, Schedule(schedule="linear", start=1.0, end=0.05)]
    for name in ("joint:1-0.05", "joint:1-5e-2", "joint:1e-0-0.05,shared"):
        assert weights_of(tiny_images.plan(name)) == moves
    for name, both in (("joint:shared", [1.0, 1.0]), ("joint:0.3,shared", [1.0, 0.3])):
        shared = tiny_images.plan(name)
        assert weights_of(shared) == both
        assert shared.streams["source"].heads == "shared"
        assert shared.stages[-1].groups == tiny_images.plan("lpft").stages[-1].groups  # type: ignore[union-attr]
    for wrong in ("joint:much", "joint:much,shared", "joint:-1", "joint:nan", "joint:1-", "joint:1-x"):
        with pytest.raises(PlanError, match="joint takes lambda behind its colon"):
            find_strategy(wrong)


def test_each_output_has_a_term_and_a_rule_combines_them(tiny_images: Bench) -> None:
    plan = tiny_images.plan("multitask")
    stage = plan.stages[-1]
    assert [term.outputs for term in stage.terms] == [("odd",), ("digit",), ("holes",), ("ink",)]  # type: ignore[union-attr]
    assert weights_of(plan) == [Learned(learned="uncertainty")] * 4
    ruled = tiny_images.plan("multitask:pcgrad").stages[-1]
    assert ruled.combine.rule == "pcgrad"  # type: ignore[union-attr]
    assert weights_of(tiny_images.plan("multitask:gradnorm")) == [1.0] * 4
    with pytest.raises(PlanError, match="multitask takes one of uncertainty, sum, pcgrad, gradnorm"):
        find_strategy("multitask:max")


def test_the_sum_of_equal_terms_is_what_lpft_minimises(tiny_images: Bench) -> None:
    plans = [as_whole_epochs(tiny_images.plan(name)) for name in ("lpft", "multitask:sum")]
    plain, summed = (losses_of_engine(tiny_images, plan, "tune") for plan in plans)
    assert summed == pytest.approx(plain, abs=1e-6)


@pytest.mark.parametrize("strategy", ["joint:uncertainty", "joint:1-0.2"])
def test_a_run_over_source_and_target(tmp_path: Path, strategy: str) -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    few, rest = np.flatnonzero(digits.target < 3)[:45], np.flatnonzero(digits.target > 5)[:40]
    target = rg.Target.from_arrays(digits.images[few], np.array(["zero", "one", "two"])[digits.target[few]])
    source = (digits.images[rest], digits.target[rest].astype(str))
    run = rg.transfer(
        target,
        out=tmp_path / "run",
        source="packaged:efficientnet-lite0",
        size=32,
        strategy=strategy,
        changes=["stages.tune.stop={steps: 2}"],
        streams={"source": source},
        settings=rg.Settings("cpu", backend="eager"),
    )
    assert set(run.metrics["outputs"]) == {"label"}
    facts = json.loads((tmp_path / "run" / "model.json").read_text())
    assert [task["name"] for task in facts["tasks"]] == ["label"]
    lines = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    line = last_line(lines)
    assert set(line["terms"]) == set(line["weights"]) == {"supervised", "supervised 2"}
    if strategy == "joint:1-0.2":
        assert line["weights"] == pytest.approx({"supervised": 1.0, "supervised 2": 0.2})
    assert run.predict([digits.images[few[0]]])[0]["label"] in ("zero", "one", "two")
