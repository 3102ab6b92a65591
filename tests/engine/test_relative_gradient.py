"""Rates by relative gradient: measured on training batches, nothing left behind, the same after a stop."""

from __future__ import annotations

from pathlib import Path

import pytest

from regraft.core.errors import PlanError
from regraft.core.hashing import hash_tensors
from regraft.engine import execute
from regraft.engine.optimiser import optimiser_tensors
from regraft.engine.relative_gradient import scaled_rates
from regraft.engine.train_stage import TrainStageRun
from regraft.plans import Plan
from regraft.sources import Source
from regraft.targets import prepare
from tests.engine.conftest import Bench
from tests.engine.test_resume import stop
from tests.strategies import tiny

CHANGES = ("stop.epochs=2", "stop.patience=null", "streams.target.batch=16")


@pytest.fixture(scope="module")
def digits(bench: Bench) -> Bench:
    """The same pictures for a network of milliseconds."""
    source: Source = tiny.convolutional()
    return Bench(source, prepare(bench.target, source.preprocessing, workers=1))


def begun(digits: Bench, plan: Plan) -> TrainStageRun:
    """The tuning, after the head was solved."""
    work = digits.open(plan.model_copy(update={"stages": plan.stages[:1]}))
    execute(work)
    return TrainStageRun(plan.stages[-1], work, None)  # type: ignore[arg-type]


def test_it_leaves_model_buffers_and_optimiser_as_they_were(digits: Bench) -> None:
    run = begun(digits, digits.plan("surgical", *CHANGES, "norm_statistics=move"))
    before = hash_tensors(run.model.state_dict())
    rates = scaled_rates(run)
    assert hash_tensors(run.model.state_dict()) == before
    assert optimiser_tensors(run.optimiser) == {}
    assert list(rates) == ["1", "2", "3", "4"]
    assert max(rates.values()) == 1e-4
    assert 0 < min(rates.values()) < 1e-4
    (line,) = (line for line in run.work.history.lines if line["kind"] == "scales")
    assert [1e-4 * share for share in line["shares"].values()] == pytest.approx(list(rates.values()))


def test_a_head_of_zeros_pulls_at_no_block(digits: Bench) -> None:
    plan = digits.plan("surgical", *CHANGES)
    work = digits.open(plan)
    run = TrainStageRun(plan.stages[-1], work, None)  # type: ignore[arg-type]
    assert set(scaled_rates(run).values()) == {0.0}


def test_a_stopped_run_goes_on_with_the_rates_that_were_found(
    digits: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = digits.plan("surgical", *CHANGES)
    whole = digits.open(plan)
    execute(whole)
    stop(digits.open(plan, folder=tmp_path, checkpoint_seconds=0.0), 3, monkeypatch)
    resumed = digits.open(plan, folder=tmp_path, checkpoint_seconds=0.0)
    execute(resumed)
    found = [hash_tensors(work.models["student"].state_dict()) for work in (whole, resumed)]
    assert found[0] == found[1]
    assert len([line for line in resumed.history.lines if line["kind"] == "scales"]) == 1


def test_a_rate_that_is_found_is_not_scaled(digits: Bench) -> None:
    with pytest.raises(PlanError, match="a rate that is found is not scaled"):
        digits.plan("surgical", "groups.1.rate=auto")
