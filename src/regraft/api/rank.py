"""``rg.rank``: which source?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from regraft.api.budget import AUTO
from regraft.choosing.prior import facts_of
from regraft.choosing.ranking import Board, Candidate, Failure, rank_candidates
from regraft.choosing.ranking.budget import Clock
from regraft.core.console import duration, hushed, said_once, say
from regraft.core.deadline import Deadline, seconds_of
from regraft.core.errors import BudgetError, RegraftError, SourceError, UsageError
from regraft.core.executors import LOCAL, read_engine
from regraft.core.spelling import did_you_mean
from regraft.core.task_spec import TaskSpec
from regraft.engine import Settings
from regraft.engine.processes import refuse_many
from regraft.engine.processes.joining import launched
from regraft.sources import Source, catalogue, default_source, find, takes_option
from regraft.sources.smaller import at_smaller_size
from regraft.targets import Target, load_target
from regraft.targets.prepared import check_reads

AUTO_SECONDS = 120.0
"""What may go into choosing a source where nobody said how long."""
_SHARE = 0.25  # of what a deadline leaves


def rank(
    target: Target | str | Path,
    sources: Sequence[str | Source] | None = None,
    *,
    budget: float | str | None = 300.0,
    output: str | None = None,
    seed: int = 0,
    engine: str = LOCAL,
    settings: Settings | None = None,
    **options: Any,
) -> Board:
    """Which source transfers best to a target, with an interval, a price and a decision.

    Example::

        board = rg.rank("leaves/")
        print(board.table())
        print(board.sentence)
        run = rg.transfer("leaves/", source=board.best, out="runs/leaves")

    Facts about the sources, a first look at all of them on a few hundred labelled examples, more examples for
    those that may be the best, and a short race of ``lpft`` between those that still cannot be told apart.
    What networks give is kept, so that a ranking that was interrupted goes on, and ``fit`` finds it. Labels
    of the test part are never read.

    Parameters
    ----------
    target
        A Target, or where one can be loaded from.
    sources
        Names or Sources; all that ``regraft sources`` says can be used offline for such data, if not given.
    budget
        Seconds, or ``"3m"``; None for no limit. What does not fit is cut in a stated order, and the board
        says what.
    output
        The output that sources are compared on; the first if not given.
    seed
        Decides which labelled examples are looked at.
    engine
        ``local``: one candidate after the other. ``processes`` or ``ray``: as many at once as there are
        cores, or as ``processes:4`` says; they share the cores out, or have the ``threads`` of the settings
        each, with which the board is that of ``local``. A worker that is lost is replaced.
    settings
        Device, threads, backend.
    options
        What sources are opened with where they take it, as in ``size=96``.

    Returns
    -------
    Board
        With ``.rows``, ``.best``, ``.sentence``, ``.table()``. A source that cannot be opened or read has a
        row that says why.

    Raises
    ------
    UsageError
        Where there is no such output, or nothing to rank.
    SourceError
        Where none of the sources can be used; it says why for each.
    DataError
        Where fewer than two labelled examples can be read.
    BudgetError
        Where the budget is too small for a look at one source.
    """
    refuse_many("rank")
    clock = Clock(None if budget is None else seconds_of(str(budget)))
    carrier = read_engine(engine)
    data = target if isinstance(target, Target) else load_target(target)
    spec = _output(data, output)
    wanted = list(default_candidates(data.modality) if sources is None else sources)
    candidates, failures = _open(_once(wanted), data, options)
    if not candidates:
        listed = "; ".join(f"{one.name}: {one.reason}" for one in failures)
        raise SourceError(f"none of the sources can be used. {listed}")
    with said_once():
        board = rank_candidates(
            data,
            spec,
            candidates,
            failures=failures,
            clock=clock,
            seed=seed,
            settings=settings,
            engine=carrier,
        )
    if not board.contenders:
        raise SourceError(board.sentence)
    return board


@dataclass(frozen=True)
class ChosenSource:
    """The source to take (None: the default), and the board that says why, where some were compared."""

    source: Source | str | None
    board: Board | None = None


def choose_source(
    target: Target,
    *,
    deadline: Deadline | None = None,
    engine: str = LOCAL,
    seed: int = 0,
    per_class: int | None = None,
    train_size: int | None = None,
    settings: Settings | None = None,
    **options: Any,
) -> ChosenSource:
    """The source that a ranking of all offline ones takes, in :data:`AUTO_SECONDS` at most; it is said.

    Of what a ``deadline`` leaves it takes a quarter at the most; the default source where that is too little.
    It looks at no other labels than those of the run's own draw: ``seed``, ``per_class``, ``train_size``.
    """
    names = default_candidates(target.modality)
    if len(names) == 1:
        say(f"Source: {names[0]}, the only one for such data that can be used here offline.")
        return ChosenSource(names[0])
    seconds = AUTO_SECONDS if deadline is None else min(AUTO_SECONDS, _SHARE * deadline.left)
    say(
        f"Source: {AUTO}, {len(names)} candidates; at most {duration(seconds)} go into choosing, which "
        "`regraft rank` shows in full."
    )
    try:
        own = _own_labels(target, seed, per_class, train_size)
        board = rank(own, names, budget=seconds, engine=engine, settings=settings, **options)
    except BudgetError as error:
        name = default_source(target.modality)
        say(f"Sources are not compared: {error}. Source: {name}, the default for {target.modality} data.")
        return ChosenSource(name)
    say(board.sentence)
    return ChosenSource(board.best, board)


def ranked(source: str | Source | None, target: Target, *, network: Any = None, **rest: Any) -> ChosenSource:
    """What was given, or for ``auto`` what :func:`choose_source` takes with the rest of the arguments.

    Raises ``UsageError`` for ``auto`` beside another network, or in several processes.
    """
    if source != AUTO:
        return ChosenSource(source)
    if network is not None:
        raise UsageError(
            "--source auto ranks sources with networks of their own, and --network asks for another one: "
            "name the source whose weights it is to have"
        )
    if launched() > 1:
        raise UsageError(
            f"--source auto ranks in one process and {launched()} were started. Type: regraft rank DATA, "
            "then torchrun .. -m regraft fit DATA --source NAME"
        )
    return choose_source(target, **rest)


def _own_labels(target: Target, seed: int, per_class: int | None, train_size: int | None) -> Target:
    """The target without the labels that a run of this draw may not use."""
    if per_class is None and train_size is None:
        return target
    with hushed():  # the fit says what there is to say of its draw
        draw = target.draw(seed, per_class=per_class, train_size=train_size)
    return target.select(np.sort(np.concatenate([draw.train, draw.validation, target.test])))


def default_candidates(modality: str) -> tuple[str, ...]:
    """Names of all pretrained sources for a modality that can be used here without a network."""
    found = tuple(entry.name for entry in catalogue(modality) if entry.ready)
    if not found:
        raise UsageError(
            f"there is no source for {modality} data here that needs no network; `regraft sources` says what "
            "one install away would work, and --sources A,B names others"
        )
    return found


def _output(target: Target, name: str | None) -> TaskSpec:
    specs = {spec.name: spec for spec in target.tasks}
    if name is not None and name not in specs:
        raise UsageError(
            f"there is no output {name!r}{did_you_mean(name, specs)} There are: {', '.join(specs)}"
        )
    chosen = name or next(iter(specs))
    if name is None and len(specs) > 1:
        rest = ", ".join(other for other in specs if other != chosen)
        say(f"Sources are ranked for the output {chosen!r}; --output chooses another one: {rest}.")
    return specs[chosen]


def _once(wanted: Sequence[str | Source]) -> list[str | Source]:
    """Each source once; raises ``UsageError`` for none."""
    if not wanted:
        raise UsageError("there is no source to rank; name some: --sources A,B")
    found: dict[str, str | Source] = {}
    for one in wanted:
        name = one if isinstance(one, str) else one.name
        if name in found:
            say(f"{name} is named twice; it is looked at once.")
        found.setdefault(name, one)
    return list(found.values())


def _open(
    wanted: Sequence[str | Source], target: Target, options: dict[str, Any]
) -> tuple[list[Candidate], list[Failure]]:
    """Sources that can be tried, and those that cannot with the reasons, which are said."""
    candidates, failures = list[Candidate](), list[Failure]()
    for one in wanted:
        name = one if isinstance(one, str) else one.name
        try:
            candidates.append(_candidate(one, target, options))
        except RegraftError as error:
            failures.append(Failure(name, str(error)))
            say(f"{name} is left out: {error}")
    return candidates, failures


def _candidate(one: str | Source, target: Target, options: dict[str, Any]) -> Candidate:
    taken = {key: value for key, value in options.items() if isinstance(one, str) and takes_option(one, key)}
    source = find(one, **taken)
    if source.weights is None:
        raise SourceError(f"{source.name} was never pretrained: there is nothing to carry over")
    check_reads(source.preprocessing, target)
    smaller = None if "size" in taken else at_smaller_size(source)
    return Candidate(source, facts_of(source), smaller)
