"""From candidates to a board."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from regraft.choosing.ranking.board import Board
from regraft.choosing.ranking.budget import Clock
from regraft.choosing.ranking.candidate import Candidate, Failure
from regraft.choosing.ranking.cascade import Cascade
from regraft.choosing.ranking.deciding import make_board
from regraft.core.executors import LOCAL, Engine, open_executor
from regraft.core.task_spec import TaskSpec
from regraft.engine import Settings
from regraft.targets import Target


def rank_candidates(
    target: Target,
    spec: TaskSpec,
    candidates: Sequence[Candidate],
    *,
    failures: Sequence[Failure] = (),
    clock: Clock | None = None,
    seed: int = 0,
    settings: Settings | None = None,
    engine: Engine | None = None,
) -> Board:
    """Rank candidates for one output of a target.

    Parameters
    ----------
    failures
        Sources that were asked for and could not be opened: they get rows of their own.
    clock
        Has run since the ranking began, and knows its budget; no limit if not given. See
        :mod:`regraft.choosing.ranking.budget` for what is cut, in order.
    seed
        Decides which labelled examples are looked at.
    engine
        What carries out the work on each candidate; this process if not given.

    Raises
    ------
    DataError
        Where fewer than two labelled examples can be read.
    BudgetError
        Where not even one source can be looked at.
    """
    engine, used = engine or Engine(LOCAL), settings or Settings()
    used = replace(used, threads=engine.threads(used.threads))
    device = used.apply()
    clock = clock or Clock(None)
    if engine.name != LOCAL:
        used = replace(used, device=device.type)  # workers may see other devices
    gpu = device.type == "cuda"
    with open_executor(engine, threads=used.threads, begin=used.apply, gpu=gpu) as executor:
        cascade = Cascade(target, spec, used, device, seed, clock, executor)
        cascade.run(candidates)
    return make_board(cascade, failures)
