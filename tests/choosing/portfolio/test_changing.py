"""Settings as changes of plans, and the portfolio that is shipped."""

from __future__ import annotations

from typing import Any

import pytest

from regraft.choosing.portfolio import Setting, changes_for, changes_of, portfolio, record
from regraft.choosing.portfolio.changing import middle
from regraft.plans import GroupSpec, OptimiserSpec, Plan, TrainStage, change_plan
from regraft.plans.files import plan_from_data

USUAL = Setting(0.01, 0.9, 0.001, 1.0)
"""A stride of 0.1."""


def plan_of(optimiser: str) -> Plan:
    stages: list[dict[str, Any]] = [
        {"kind": "solve", "name": "head", "solver": "ridge"},
        {
            "kind": "train",
            "name": "tune",
            "terms": [{"computes": "supervised", "streams": ["target"], "models": ["student"]}],
            "groups": [
                {"match": ["head"], "rate": 0.001, "weight_decay": 0.01},
                {"match": ["*"], "rate": 0.0003, "weight_decay": 0.01},
            ],
            "optimiser": {"name": optimiser},
            "stop": {"epochs": 5},
        },
    ]
    data = {
        "version": 3,
        "models": {"student": {"source": "packaged:efficientnet-lite0"}},
        "streams": {"target": {}},
        "stages": stages,
    }
    return plan_from_data(data, origin="a test")


def stage_of(plan: Plan) -> TrainStage:
    stage = plan.stages[1]
    assert isinstance(stage, TrainStage)
    return stage


def test_adamw_takes_the_ratio_of_strides() -> None:
    plan = plan_of("adamw")
    # 0.2 without momentum strides twice as far as 0.01 with 0.9.
    changes = changes_of(Setting(0.2, 0.0, 0.0, 0.5), plan, usual=USUAL)
    stage = stage_of(change_plan(plan, changes))
    assert [group.rate for group in stage.groups] == [0.002, 0.0006]
    assert [group.weight_decay for group in stage.groups] == [0.01, 0.01]
    assert stage.optimiser == OptimiserSpec()
    assert change_plan(plan, changes).streams["target"].batch == 16
    assert changes_of(USUAL, plan, usual=USUAL) == []


def test_sgd_takes_rate_momentum_and_decay() -> None:
    plan = plan_of("sgd")
    stage = stage_of(change_plan(plan, changes_of(Setting(0.1, 0.0, 1e-5, 1.0), plan, usual=USUAL)))
    assert [group.rate for group in stage.groups] == [0.01, 0.003]
    assert [group.weight_decay for group in stage.groups] == [1e-5, 1e-5]
    assert stage.optimiser.momentum == 0.0


def test_a_rate_that_is_found_stays() -> None:
    plan = plan_of("adamw")
    stage = stage_of(plan)
    groups = (GroupSpec(match=("*",), rate="auto"),)
    found = plan.model_copy(update={"stages": (plan.stages[0], stage.model_copy(update={"groups": groups}))})
    assert changes_of(Setting(0.1, 0.9, 0.0, 1.0), found, usual=USUAL) == []
    solved = plan.model_copy(update={"stages": plan.stages[:1]})
    assert changes_of(Setting(0.1, 0.9, 0.0, 0.5), solved, usual=USUAL) == []


def test_every_change_of_the_portfolio_applies_and_none_stands_twice() -> None:
    for plan in (plan_of("adamw"), plan_of("sgd")):
        every = changes_for(plan)
        assert 4 <= len(every) <= 6
        assert len({tuple(changes) for changes in every}) == len(every)
        assert len({change_plan(plan, changes).model_dump_json() for changes in every}) == len(every)
    rates = [stage_of(change_plan(plan_of("adamw"), changes)).groups[1].rate for changes in every]
    assert all(isinstance(rate, float) and 1e-6 < rate < 1e-1 for rate in rates)


def test_the_shipped_portfolio() -> None:
    settings = portfolio()
    assert len(set(settings)) == 6
    assert portfolio(2) == settings[:2]
    assert middle(settings) in settings
    said = record()["chosen"]
    falling = said["regret by validation of the first k"]
    assert falling == sorted(falling, reverse=True)
    left = said["targets left out"]
    assert left["six, best"] < left["two, best"] < left["one, best"]
    assert left["six, best"] < left["six at random, best"]
    assert left["six, picked"] < left["six at random, picked"]
    with pytest.raises(ValueError, match="the portfolio has 1 to 6 settings, 7 were asked for"):
        portfolio(7)
