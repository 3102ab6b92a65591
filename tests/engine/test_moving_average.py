"""A moving average follows, resumes to the bit, and leaves its weights where it judges."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from regraft.core.errors import PlanError
from regraft.core.hashing import hash_tensors
from regraft.engine import check_plan, execute
from regraft.engine.moving_average import MovingAverage
from regraft.plans import ModelSpec, Plan
from tests.engine.conftest import Bench
from tests.engine.test_loop_parity import with_average
from tests.engine.test_resume import Stopped, stop_after

CHANGES = ("stop.epochs=2", "streams.target.batch=16", "streams.target.views=0")


def averaged(bench: Bench, **stop: object) -> Plan:
    """Of the last block alone: cheap, and its batch norm's statistics move."""
    return with_average(bench.plan("lpft:1", *CHANGES, "norm_statistics=move"), **stop)


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


def test_an_equal_average_is_the_mean_of_the_weights_after_all_steps_that_count(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "heads.output_label.weight"
    data = bench.plan("lpft:1", "stop.steps=5", "stop.keep=last", "streams.target.batch=16").model_dump()
    data["models"]["mean"] = {"average_of": "student", "average": "equal", "begin": 0.3}
    work = bench.open(Plan.model_validate(data))
    seen: list[Tensor] = []
    follow = MovingAverage.follow

    def watched(self: MovingAverage, step: int) -> None:
        seen.append(self.followed.state_dict()[name].clone())
        follow(self, step)

    monkeypatch.setattr(MovingAverage, "follow", watched)
    execute(work)
    assert len(seen) == 5
    expected = torch.stack(seen[2:]).double().mean(0)  # 0.3 of 5 steps: the first two do not count
    found = work.models["mean"].state_dict()[name].double()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)
    assert not torch.allclose(found, seen[-1].double())


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"average_of": "student", "average": "equal", "decay": 0.9}, "has no decay"),
        ({"source": "packaged:minilm", "average": "equal"}, "is the average_of a model"),
        ({"average_of": "student", "begin": 0.5}, "say average: equal"),
    ],
)
def test_an_equal_average_has_no_decay_and_only_it_begins_late(spec: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelSpec.model_validate(spec)


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
