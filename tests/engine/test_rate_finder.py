"""The rate finder: it chooses by its rule, leaves no trace, and what it found is used and remembered."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from regraft.core.hashing import hash_tensors
from regraft.engine import execute, rate_finder
from regraft.engine.rate_finder import choose_rate, find_rates, tried_rates
from regraft.engine.train_stage import TrainStageRun
from tests.engine.conftest import Bench
from tests.engine.test_resume import stop

CHANGES = ("stop.epochs=2", "stop.keep=last", "streams.target.batch=16", "groups.0.rate=auto")


def test_the_rule_is_a_tenth_of_the_lowest_losss_rate() -> None:
    rates = tried_rates()
    assert rates[0] == pytest.approx(1e-6)
    assert rates[-1] == pytest.approx(1.0)
    assert np.diff(np.log(rates)) == pytest.approx(math.log(1e6) / 39)
    # The step after rates[9] had the lowest loss.
    assert choose_rate([3.0, 2.9, *([2.8] * 8), 1.0, 5.0]) == pytest.approx(rates[9] / 10)
    assert choose_rate([]) == rates[0]


def test_it_leaves_model_optimiser_buffers_and_randomness_as_they_were(bench: Bench) -> None:
    more = ("groups.1.rate=auto", "streams.target.batch=8", "norm_statistics=move")
    work = bench.open(bench.plan("lpft:1", *CHANGES, *more))
    run = TrainStageRun(work.plan.stages[-1], work, None)  # type: ignore[arg-type]
    before = hash_tensors(work.models["student"].state_dict())
    torch.manual_seed(3)
    randomness, numpy_state = torch.get_rng_state(), np.random.get_state()[1].tolist()
    found = find_rates(run)
    assert set(found) == {"0", "1"}
    assert all(1e-7 <= rate <= 0.1 for rate in found.values())
    assert hash_tensors(work.models["student"].state_dict()) == before
    assert torch.equal(torch.get_rng_state(), randomness)
    assert np.random.get_state()[1].tolist() == numpy_state
    assert not run.optimiser.state
    assert all(parameter.grad is None for parameter in work.models["student"].parameters())
    lines = [line for line in work.history.lines if line["kind"] == "rates"]
    assert [line["chosen"] for line in lines] == list(found.values())
    assert all(len(line["rates"]) == len(line["losses"]) > 5 for line in lines)
    assert all(math.isfinite(loss) for line in lines for loss in line["losses"])
    assert run.freeze.norm_moves, "buffers could have moved"
    # The curve has a valley: the test went far enough to see the loss rise.
    assert all(max(line["losses"]) > min(line["losses"]) for line in lines)
    assert find_rates(run) == found


def test_a_run_with_found_rates_is_the_run_that_was_told_them_and_resumes_to_the_bit(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    auto = bench.plan("lpft:1", *CHANGES)
    work = bench.open(auto)
    execute(work)
    (line,) = (line for line in work.history.lines if line["kind"] == "rates")
    assert f"{line['chosen']:g}" in work.notes[0]
    told = bench.open(bench.plan("lpft:1", *CHANGES, f"groups.0.rate={line['chosen']}"))
    execute(told)
    expected = hash_tensors(work.models["student"].state_dict())
    assert hash_tensors(told.models["student"].state_dict()) == expected
    stop(bench.open(auto, folder=tmp_path, checkpoint_seconds=0.0), 3, monkeypatch)
    resumed = bench.open(auto, folder=tmp_path, checkpoint_seconds=0.0)
    execute(resumed)
    assert hash_tensors(resumed.models["student"].state_dict()) == expected
    assert len([line for line in resumed.history.lines if line["kind"] == "rates"]) == 1


def test_only_training_examples_are_read(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    work = bench.open(bench.plan("lpft:1", *CHANGES))
    run = TrainStageRun(work.plan.stages[-1], work, None)  # type: ignore[arg-type]
    asked: set[int] = set()
    labels = type(work.target).labels

    def watched(self: object, examples: np.ndarray) -> object:
        asked.update(int(example) for example in examples)
        return labels(self, examples)  # type: ignore[arg-type]

    monkeypatch.setattr(type(work.target), "labels", watched)
    find_rates(run)
    assert asked
    assert asked <= set(work.draw.train.tolist())


def test_the_scaler_of_half_precision_is_as_new_after_a_test_that_ended_early(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test ends in the middle of a step; a scaler that remembered it would refuse the next one."""
    work = bench.open(bench.plan("lpft:1", *CHANGES))
    run = TrainStageRun(work.plan.stages[-1], work, None)  # type: ignore[arg-type]
    monkeypatch.setattr(rate_finder, "RISEN", -0.5)
    run.precision.scaler = torch.amp.GradScaler("cpu", init_scale=16.0)
    find_rates(run)
    (line,) = work.history.lines
    assert len(line["losses"]) == 1
    assert run.precision.scaler.get_scale() == 16.0
    assert math.isfinite(run._step())
