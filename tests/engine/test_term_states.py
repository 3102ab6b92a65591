"""What terms remember: it changes when a step is taken, by what its whole batch left, and outlives a stop."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from regraft.engine.slices import WHOLE, Slice
from regraft.engine.train_stage import TrainStageRun
from regraft.targets import Target, prepare
from regraft.terms import Term
from tests.engine.conftest import Bench
from tests.engine.test_resume import assert_resumes
from tests.strategies import tiny
from tests.strategies.conftest import pictures_of_digits

CHANGES = ("stop.epochs=3", "streams.target.batch=12", "terms.1.options.keys=9")


@pytest.fixture(scope="module")
def bench() -> Bench:
    """Digits of four classes for a small convolutional network."""
    X, labels = pictures_of_digits()
    source = tiny.convolutional()
    return Bench(source, prepare(Target.from_arrays(X, labels["digit"]), source.preprocessing, workers=1))


def opened(bench: Bench, *changes: str) -> tuple[TrainStageRun, Term]:
    plan = bench.plan("bi-tuning:1", *CHANGES, *changes)
    work = bench.open(plan)
    run = TrainStageRun(plan.stages[-1], work, None)  # type: ignore[arg-type]
    run.freeze.set_modes(run.model)
    return run, run.objective.terms[1].term


def state(term: Term) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in term.state.items()}


def labels(run: TrainStageRun, batch: int) -> list[int]:
    found: list[int] = run.work.labels(run.leading.at(batch))["label"].tolist()
    return found


def test_it_changes_when_a_step_is_taken(bench: Bench) -> None:
    run, term = opened(bench, "optimiser.accumulate=2")
    before = state(term)
    run.guard.begin()  # a step is tried for its memory
    run.gradients(1)  # as the range test of rates does
    assert all(torch.equal(value, before[name]) for name, value in term.state.items())
    run._step()
    room = len(before["features"])
    assert room == 36
    # Both of the step's batches, in their order, behind what was there before.
    assert term.state["labels.label"].tolist() == [-1] * (room - 24) + [*labels(run, 0), *labels(run, 1)]


def test_slices_leave_what_the_whole_batch_does(bench: Bench) -> None:
    run, term = opened(bench)
    run._step()
    queue, found = state(term), []
    for pieces in ((WHOLE,), WHOLE.split(3), (Slice(0, 2), *Slice(1, 2).split(2))):
        term.state = queue
        run.states.clear()
        loss = sum(float(run.objective.parts(1, 0.0, piece)["bi-tuning"].detach()) for piece in pieces)
        run.states.follow([1])
        found.append((loss, state(term)))
    for loss, after in found[1:]:
        assert loss == pytest.approx(found[0][0], rel=1e-5)
        assert torch.equal(after["labels.label"], found[0][1]["labels.label"])
        assert torch.allclose(after["features"], found[0][1]["features"], atol=1e-5)
    assert found[0][0] > 1


def test_an_attempt_that_ran_out_of_memory_leaves_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, term = opened(bench)
    objective, failed = type(run.objective), []
    parts = objective.parts

    def short_of_memory(self: object, step: int, done: float, piece: Slice = WHOLE) -> dict[str, Tensor]:
        found = parts(self, step, done, piece)  # type: ignore[arg-type]
        if not failed:
            failed.append(piece)
            raise RuntimeError("CUDA out of memory")
        return found

    monkeypatch.setattr(objective, "parts", short_of_memory)
    run._step()
    assert failed == [WHOLE]
    assert run.standing.slices == 2
    room, batch = len(term.state["features"]), labels(run, 0)
    assert term.state["labels.label"].tolist() == [-1] * (room - len(batch)) + batch


@pytest.mark.parametrize("changes", [(), ("optimiser.accumulate=2", "streams.target.batch=6")])
def test_a_run_that_goes_on_remembers_the_same_bits(
    changes: tuple[str, ...], bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = bench.plan("bi-tuning:1", *CHANGES, *changes)
    whole = assert_resumes(partial(bench.open, plan), tmp_path, after=4, monkeypatch=monkeypatch)
    assert whole.history.lines[-1]["terms"]["bi-tuning"] > 0.5


PROCESS = """
import sys
from types import SimpleNamespace
import torch, torch.distributed as dist
from regraft.engine.processes import Processes
from regraft.engine.term_states import TermStates

rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method="file://" + sys.argv[2], rank=rank, world_size=2)
term = SimpleNamespace(state={"seen": torch.zeros(1, 2)}, after_step=lambda left: dict(left))
states = TermStates([term], Processes(rank, 2, "gloo", talk=dist.group.WORLD), torch.device("cpu"))
for part in range(2):  # of batch 4, two slices each
    states.note(0, 4, {"seen": torch.full((1, 2), 10.0 * rank + part)})
if rank == 0:  # of the short batch 5 the other process has no share
    states.note(0, 5, {"seen": torch.full((2, 2), 7.0)})
states.follow([4, 5])
print(term.state["seen"][:, 0].tolist())
dist.destroy_process_group()
"""


def test_processes_remember_the_same_in_the_order_of_the_batch(tmp_path: Path) -> None:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(rank), str(tmp_path / "meeting")],
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=120)[0].strip() for process in started]
    assert said == ["[0.0, 1.0, 10.0, 11.0, 7.0, 7.0]"] * 2
