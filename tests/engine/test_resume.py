"""A run that was stopped and goes on ends with the same bits as one that was not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from regraft.core.errors import ResumeError
from regraft.core.hashing import hash_tensors
from regraft.engine import Checkpoints, execute
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


@pytest.mark.parametrize("strategy", ["lpft:2", "full"])
@pytest.mark.parametrize("steps", [1, 4, 6])
def test_bits_are_equal_wherever_it_was_stopped(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: str, steps: int
) -> None:
    plan = bench.plan(strategy, *CHANGES)
    whole = bench.open(plan)
    execute(whole)
    with monkeypatch.context() as patch:
        stop_after(steps, patch)
        with pytest.raises(Stopped):
            execute(bench.open(plan, folder=tmp_path, checkpoint_seconds=0.0))
    resumed = bench.open(plan, folder=tmp_path, checkpoint_seconds=0.0)
    execute(resumed)
    expected = whole.models["student"].state_dict()
    assert hash_tensors(resumed.models["student"].state_dict()) == hash_tensors(expected)

    def bare(lines: list[dict[str, object]]) -> list[dict[str, object]]:
        return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]

    assert bare(resumed.history.lines) == bare(whole.history.lines)
    written = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert bare(written) == bare(whole.history.lines)


def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path)
    for step in (1, 2, 3):
        store.write({"step": step}, {"model": {"w": torch.full((3,), float(step))}})
    assert len(list(tmp_path.iterdir())) == 2
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
