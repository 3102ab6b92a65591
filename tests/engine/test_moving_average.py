"""A moving average follows, resumes to the bit, and leaves its weights where it judges."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from regraft.core.errors import PlanError
from regraft.core.hashing import hash_tensors
from regraft.engine import check_plan, execute
from regraft.plans import Plan
from tests.engine.conftest import Bench
from tests.engine.test_loop_parity import with_average
from tests.engine.test_resume import Stopped, stop_after

CHANGES = ("stop.epochs=2", "streams.target.batch=16", "streams.target.views=0")


def averaged(bench: Bench, **stop: object) -> Plan:
    return with_average(bench.plan("full", *CHANGES), **stop)


def test_it_resumes_to_the_bit(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = averaged(bench, judge="slow")
    whole = bench.open(plan)
    execute(whole)
    with monkeypatch.context() as patch:
        stop_after(5, patch)
        with pytest.raises(Stopped):
            execute(bench.open(plan, folder=tmp_path, checkpoint_seconds=0.0))
    resumed = bench.open(plan, folder=tmp_path, checkpoint_seconds=0.0)
    execute(resumed)
    for name in ("student", "slow"):
        assert hash_tensors(resumed.models[name].state_dict()) == hash_tensors(
            whole.models[name].state_dict()
        )


def test_where_it_judges_its_weights_are_left(bench: Bench) -> None:
    plain, judged = (
        bench.open(averaged(bench, keep="last")),
        bench.open(averaged(bench, keep="last", judge="slow")),
    )
    execute(plain)
    execute(judged)
    slow = judged.models["slow"].state_dict()
    assert hash_tensors(judged.models["student"].state_dict()) == hash_tensors(slow)
    assert hash_tensors(plain.models["slow"].state_dict()) == hash_tensors(slow)
    assert not torch.equal(
        plain.models["student"].state_dict()["heads.output_label.weight"], slow["heads.output_label.weight"]
    )
    losses = [work.history.lines[-1]["validation"]["loss"] for work in (plain, judged)]
    assert losses[0] != losses[1]


@pytest.mark.parametrize(
    ("models", "stage", "message"),
    [
        ({"slow": {"average_of": "student", "source": "packaged:other"}}, {}, "leave its source out"),
        ({"slow": {"average_of": "student"}}, {"model": "slow"}, "which follows 'student': train that one"),
        (
            {"other": {"source": "packaged:other"}, "slow": {"average_of": "other"}},
            {"stop": {"epochs": 1, "judge": "slow"}},
            "name an average of 'student'",
        ),
    ],
)
def test_what_cannot_follow_is_refused(
    bench: Bench, models: dict[str, object], stage: dict[str, object], message: str
) -> None:
    data = bench.plan("full").model_dump(mode="json")
    data["models"].update(models)
    data["stages"][0].update(stage)
    with pytest.raises(PlanError, match=message):
        check_plan(Plan.model_validate(data))
