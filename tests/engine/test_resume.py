"""A run that was stopped and goes on ends with the same bits as one that was not."""

from __future__ import annotations

import json
import math
import random
import resource
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from regraft.core.errors import FullDiskError, ResumeError
from regraft.core.hashing import hash_tensors
from regraft.engine import Checkpoints, History, execute
from regraft.engine.history import bare
from regraft.engine.movement import Movement
from regraft.engine.pace import SHARE, Pace
from regraft.engine.standing import Standing
from regraft.engine.train_stage import TrainStageRun
from tests.engine.conftest import Bench

CHANGES = ("stop.epochs=3", "streams.target.batch=16")


class Stopped(Exception):
    """Stands for a kill: nothing after it runs."""


def stop_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    real = TrainStageRun._step
    taken = 0

    def step(self: TrainStageRun) -> float:
        nonlocal taken
        if taken == steps:
            raise Stopped
        taken += 1
        return real(self)

    monkeypatch.setattr(TrainStageRun, "_step", step)


def stop(work: Any, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        stop_after(steps, patch)
        with pytest.raises(Stopped):
            execute(work)


def assert_resumes(
    opened: Callable[..., Any], folder: Path, *, after: int, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """Stop what ``opened`` opens after so many steps and go on: all is as in one that was not stopped.

    Returns the latter, carried out.
    """
    whole = opened()
    execute(whole)
    stop(opened(folder=folder, checkpoint_seconds=0.0), after, monkeypatch)
    resumed = opened(folder=folder, checkpoint_seconds=0.0)
    execute(resumed)
    assert weights(resumed) == weights(whole)
    assert bare_lines(resumed.history.lines) == bare_lines(whole.history.lines)
    return whole


def bare_lines(lines: list[dict[str, object]]) -> list[dict[str, object]]:
    return [bare(line) for line in lines]


def weights(work: Any) -> str:
    return hash_tensors(work.models["student"].state_dict())


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file may grow beyond ``size`` bytes: writing fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize(
    ("strategy", "changes", "stops", "workers"),
    [
        ("lpft:2", (), (1, 6), 0),
        ("full", ("optimiser.accumulate=2", "stop.patience=3", "streams.target.batch=8"), (4,), 2),
    ],
)
def test_bits_are_equal_wherever_it_was_stopped(
    bench: Bench,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    strategy: str,
    changes: tuple[str, ...],
    stops: tuple[int, ...],
    workers: int,
) -> None:
    plan = bench.plan(strategy, *CHANGES, *changes)
    whole = bench.open(plan)
    execute(whole)
    for steps in stops:
        folder = tmp_path / str(steps)
        stop(bench.open(plan, folder=folder, checkpoint_seconds=0.0, workers=workers), steps, monkeypatch)
        resumed = bench.open(plan, folder=folder, checkpoint_seconds=0.0, workers=workers)
        execute(resumed)
        assert weights(resumed) == weights(whole)
        assert bare_lines(resumed.history.lines) == bare_lines(whole.history.lines)
        written = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
        assert bare_lines(written) == bare_lines(whole.history.lines)


class Forgetful(nn.Module):
    """Drops units by numpy's and Python's global generators, as some networks' masks and layer drop do."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return values
        kept = torch.from_numpy((np.random.rand(values.shape[-1]) < 0.9).astype(np.float32))
        return values * kept * (1.0 if random.random() < 0.5 else 0.5)


def test_a_network_that_draws_from_numpy_and_python_resumes_to_the_same_bits(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = bench.plan("full", "stop.steps=4", "streams.target.batch=8")

    def opened(folder: Path | None) -> Any:
        work = bench.open(plan, folder=folder, checkpoint_seconds=0.0)
        head = work.models["student"].heads["output_label"]
        head.register_forward_pre_hook(lambda module, given: (forget.train(module.training)(given[0]),))
        return work

    forget = Forgetful()
    whole = opened(None)
    execute(whole)
    random.seed(1)
    stop(opened(tmp_path), 3, monkeypatch)
    random.seed(2)
    np.random.seed(2)
    resumed = opened(tmp_path)
    execute(resumed)
    assert weights(resumed) == weights(whole)


def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path)
    for step in (1, 2, 3):
        store.write({"step": step}, {"model": {"w": torch.full((3,), float(step))}})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000002", "000003", "newest.json"]
    newest = store.newest()
    assert newest is not None
    assert newest.state["step"] == 3
    (tmp_path / "000003" / "model.safetensors").write_bytes(b"half a fi")
    before = store.newest()
    assert before is not None
    assert before.state["step"] == 2
    assert torch.equal(before.tensors["model"]["w"], torch.full((3,), 2.0))
    (tmp_path / "000002" / "state.json").unlink()
    assert store.newest() is None


def test_a_half_written_checkpoint_is_never_seen(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path)
    store.write({"step": 1}, {"model": {"w": torch.ones(2)}})
    part = tmp_path / ".part-000002"
    part.mkdir()
    (part / "model.safetensors").write_bytes(b"..")
    newest = store.newest()
    assert newest is not None
    assert newest.state["step"] == 1


def test_another_plan_does_not_take_up_a_checkpoint(bench: Bench, tmp_path: Path) -> None:
    execute(bench.open(bench.plan("lpft:2", "stop.epochs=1"), folder=tmp_path))
    with pytest.raises(ResumeError, match="the plan has changed"):
        execute(bench.open(bench.plan("lpft:2", "stop.epochs=2"), folder=tmp_path))


def test_a_checkpoint_that_was_removed_is_missed(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = bench.plan("lpft:2", *CHANGES)
    whole = bench.open(plan)
    execute(whole)
    stop(bench.open(plan, folder=tmp_path, checkpoint_seconds=0.0), 5, monkeypatch)
    store = tmp_path / "checkpoints"
    shutil.rmtree(store / "000006")
    stop(bench.open(plan, folder=tmp_path, checkpoint_seconds=0.0), 1, monkeypatch)
    said = capsys.readouterr().err
    assert f"The newest checkpoint, number 6, is no longer in {store}; going back to number 5" in said
    for path in store.glob("0*"):
        shutil.rmtree(path)
    resumed = bench.open(plan, folder=tmp_path)
    execute(resumed)
    said = capsys.readouterr().err
    assert f"number 7, is no longer in {store}; beginning again from the start" in said
    assert weights(resumed) == weights(whole)


def test_a_checkpoint_holds_only_what_moved(bench: Bench, tmp_path: Path) -> None:
    plan = bench.plan("lpft:1", "stop.epochs=1", "stop.keep=last", "optimiser.name=sgd")
    work = bench.open(plan, folder=tmp_path, checkpoint_seconds=0.0)
    execute(work)
    assert work.movement is not None
    assert work.movement.moved("student") == {
        name
        for name in work.models["student"].state_dict()
        if name.startswith(("heads.", "trunk.network._conv_head.", "trunk.network._bn1."))
    }
    model = sum(tensor.nbytes for tensor in work.models["student"].state_dict().values())
    inside = sorted((tmp_path / "checkpoints").glob("0*"))[-2]  # with the optimiser's state
    stored = sum(path.stat().st_size for path in inside.iterdir())
    assert stored < 0.25 * model


def test_another_beginning_does_not_take_up_a_checkpoint(bench: Bench, tmp_path: Path) -> None:
    plan = bench.plan("probe")
    execute(bench.open(plan, folder=tmp_path))
    work = bench.open(plan, folder=tmp_path)
    with torch.no_grad():
        next(work.models["student"].trunk.parameters()).view(-1)[0].add_(1e-6)
    with pytest.raises(ResumeError, match="'student' does not begin with the weights that it began with"):
        execute(work)


def test_buffers_that_are_not_saved_and_ties_are_put_back(tmp_path: Path) -> None:
    def made() -> nn.Module:
        model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
        model[1].weight = model[0].weight
        model.register_buffer("count", torch.zeros(2), persistent=False)
        with torch.no_grad():
            model[0].weight.fill_(1.0)
        return model

    model, again = made(), made()
    movement = Movement({"student": model})
    with torch.no_grad():
        model[0].weight.mul_(3)
        model.count.add_(7)
    movement.look()
    store = Checkpoints(tmp_path)
    store.write({"rest": movement.facts()}, movement.tensors())
    found = store.newest()
    assert found is not None
    Movement({"student": again}).restore(found)
    assert torch.equal(again.count, torch.full((2,), 7.0))
    assert torch.equal(again[1].weight, torch.full((3, 3), 3.0))
    assert again[0].weight is again[1].weight


def test_a_full_disk_is_named_and_the_checkpoint_before_stays(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path / "checkpoints")
    store.write({"step": 1}, {"model": {"w": torch.ones(20_000)}})
    advice = f"then: regraft resume {tmp_path}$"
    with (
        largest_file(40_000),
        pytest.raises(FullDiskError, match=f"the disk is full: no checkpoint.*{advice}"),
    ):
        store.write({"step": 2}, {"model": {"w": torch.ones(20_000)}})
    assert sorted(path.name for path in store.folder.iterdir()) == ["000001", "newest.json"]
    newest = store.newest()
    assert newest is not None
    assert newest.state["step"] == 1
    store.write({"step": 2}, {"model": {"w": torch.ones(20_000)}})
    assert (store.folder / "000002").is_dir()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_history_on_a_full_disk_is_named(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").symlink_to("/dev/full")
    with pytest.raises(FullDiskError, match=rf"a line could not be added to .*regraft resume {tmp_path}"):
        History(tmp_path / "history.jsonl").add({"step": 1})


def test_a_history_that_lost_lines_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text('{"step": 1}\n')
    history = History(path)
    history.rewind(3)
    assert history.lines == [{"step": 1}]
    assert "has lost lines: 3 were logged before the checkpoint, 1 are there" in capsys.readouterr().err


@pytest.mark.parametrize("loss", [None, 0.1 + 0.2, math.inf, math.nan])
def test_where_a_stage_stands_survives_json(loss: float | None) -> None:
    facts = json.loads(json.dumps(Standing(step=3, best_loss=loss).facts(), allow_nan=False))
    found = Standing.of(facts, {}).best_loss
    assert found == loss or (
        loss is not None and found is not None and math.isnan(found) and math.isnan(loss)
    )


def test_writing_checkpoints_takes_a_small_share_of_the_time() -> None:
    pace = Pace(0.01)
    assert not pace.due
    pace.keep(lambda: time.sleep(0.05))
    written = time.monotonic()
    while not pace.due:
        time.sleep(0.005)
    assert time.monotonic() - written >= 0.05 / SHARE - 0.02
    always = Pace(0.0)
    always.keep(lambda: time.sleep(0.01))
    assert always.due
