"""What every executor does: the same results, errors of one item, lost workers, no process left behind."""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

import regraft as rg
from regraft.core.executors import Engine, Executor, Here, open_executor, read_engine, together
from regraft.core.executors.executor import RETRIES
from regraft.core.executors.opening import cores
from tests.core.executors import pieces

NUMBERS = np.arange(5)


@pytest.fixture(scope="module")
def processes() -> Iterator[Executor]:
    with open_executor(Engine("processes", 2), threads=1, begin=pieces.nothing) as executor:
        yield executor


@pytest.fixture(params=["here", "processes"])
def executor(request: pytest.FixtureRequest) -> Executor:
    return Here() if request.param == "here" else request.getfixturevalue(request.param)


def test_outcomes_are_those_of_the_items(executor: Executor, capsys: pytest.CaptureFixture[str]) -> None:
    told: dict[int, int] = {}
    found = executor.map(pieces.squared, [3, 1, 4], NUMBERS, tick=lambda place, n: told.update({place: n}))
    assert [outcome.get()[0] for outcome in found] == [9, 1, 16]
    assert told == {0: 3, 1: 1, 2: 4}
    assert sorted(capsys.readouterr().err.splitlines()) == ["squared 1", "squared 3", "squared 4"]
    inside = {outcome.get()[1] for outcome in found} == {os.getpid()}
    assert inside is isinstance(executor, Here)


def test_an_error_is_the_outcome_of_its_item(executor: Executor) -> None:
    ours, strange, fine = executor.map(pieces.failing, ["ours", "strange", "fine"], None)
    with pytest.raises(rg.MissingPackageError, match=r"Run: pip install 'regraft\[graft\]'"):
        ours.get()
    with pytest.raises(RuntimeError, match="1 and 2"):
        strange.get()
    assert fine.get() == "fine"


def test_an_item_is_asked_for_when_there_is_a_worker_for_it(executor: Executor) -> None:
    asked = []

    def items() -> Iterator[float]:
        for number in range(10):
            asked.append(number)
            yield 0.01

    outcomes = executor.run(pieces.slow, items(), None)
    next(outcomes)
    assert len(asked) <= executor.workers
    outcomes.close()
    assert len(asked) <= executor.workers
    assert executor.map(pieces.slow, [0.0], None)[0].get() > 0, "it goes on afterwards"


def test_a_lost_worker_is_replaced(
    processes: Executor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = processes.map(pieces.killed, [0, 1, 3], tmp_path, title=lambda item: f"item {item}")
    assert [outcome.get() for outcome in found] == [0, 1, 3]
    said = capsys.readouterr().err
    assert said == "The worker that had item 1 was lost (SIGKILL(-9)); item 1 is begun again.\n"


def test_an_item_that_loses_every_worker_is_given_up(processes: Executor, tmp_path: Path) -> None:
    fine, bad = processes.map(pieces.killed, [0, 2], tmp_path, title=lambda item: f"item {item}")
    assert fine.get() == 0
    with pytest.raises(rg.WorkerLostError, match=r"had item 2 was lost 3 times \(SIGKILL\(-9\)\)"):
        bad.get()
    assert len(list(tmp_path.iterdir())) == RETRIES + 1


def test_workers_have_their_share_of_the_threads(processes: Executor) -> None:
    assert processes.map(pieces.threads, [0], None)[0].get() == "1"
    assert Engine("processes", cores()).threads(None) == 1
    assert Engine("processes", 1).threads(None) == cores()
    assert Engine("processes", 2).threads(3) == 3
    assert Engine("local").threads(None) is None


def test_what_cannot_be_handed_over_is_said(processes: Executor) -> None:
    with pytest.raises(rg.UsageError, match=r"cannot be handed to another process.*--engine local"):
        processes.map(pieces.slow, [threading.Lock()], None)


def test_an_interruption_leaves_no_process() -> None:
    started = list[psutil.Process]()
    before = psutil.Process().children()
    with pytest.raises(KeyboardInterrupt):
        interrupted(started)
    mine = [one for one in started if one not in before]
    assert len(mine) >= 2
    assert psutil.wait_procs(mine, timeout=10)[1] == []


def interrupted(started: list[psutil.Process]) -> None:
    """Interrupted while two workers are busy for a minute."""
    with open_executor(Engine("processes", 2), threads=1, begin=pieces.nothing) as executor:
        for _ in executor.run(pieces.slow, [0.0, 60.0, 60.0], None):
            started += psutil.Process().children()
            raise KeyboardInterrupt


@pytest.mark.parametrize("text", ["prozesse", "processes:0", "processes:many", "local:2", "ray:"])
def test_what_is_no_engine_is_said(text: str) -> None:
    with pytest.raises(rg.UsageError, match=f"--engine {text}: there are local, processes, ray"):
        read_engine(text)


def test_an_engine_is_read() -> None:
    assert read_engine("local") == Engine("local", 1)
    assert read_engine("processes") == Engine("processes", cores())
    assert read_engine("ray:3") == Engine("ray", 3)


def test_time_together_is_never_less_than_it_takes() -> None:
    """Against the worst of all orders in which two workers may take the pieces."""
    import itertools

    seconds = [3.0, 1.0, 2.0, 5.0]
    worst = 0.0
    for order in itertools.permutations(seconds):
        busy = [0.0, 0.0]
        for piece in order:
            busy[busy.index(min(busy))] += piece
        worst = max(worst, *busy)
    assert worst <= together(seconds, 2) < sum(seconds)
    assert together(seconds, 1) == sum(seconds)
    assert together([], 2) == 0.0


@pytest.mark.parametrize(
    "error",
    [rg.MissingPackageError("a", "b", "c"), rg.UnreadableError("bad", [("x", "y")]), rg.SourceError("no")],
)
def test_our_errors_travel(error: rg.RegraftError) -> None:
    again = copy.copy(error)  # as pickle does it
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
