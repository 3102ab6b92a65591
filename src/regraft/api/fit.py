"""``rg.fit`` and ``rg.resume``: carry a plan out, into a folder that holds everything."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from regraft.api.beginning import (
    check_plan_and_data,
    check_sources,
    compare_circumstances,
    note_beginning,
    tell_moved,
)
from regraft.api.finishing import close, finish
from regraft.api.opening import check_folder, link_of, open_models
from regraft.api.plan import as_plan
from regraft.api.records import find_doubles, note_findings, write_records, write_unreadable
from regraft.api.selection import selection_of
from regraft.api.shape import shape_of_run
from regraft.api.streams import OtherData, find_streams, find_streams_again, prepare_streams, record_streams
from regraft.api.whereabouts import find_data
from regraft.choosing.auto.choice import Choice
from regraft.choosing.ranking import Board
from regraft.core.console import say
from regraft.core.disk import full_disk_told, is_full_disk
from regraft.core.errors import ResumeError, UnreadableError
from regraft.core.files import write_json
from regraft.engine import (
    Checkpoints,
    History,
    Opened,
    Run,
    Settings,
    Workspace,
    check_plan,
    execute,
    open_workspace,
)
from regraft.engine.heartbeat import Killed, killed_for_memory
from regraft.engine.lock import locked
from regraft.engine.loggers import check_loggers, logging_to
from regraft.engine.open import draw_examples, fitted_tasks, headed_tasks
from regraft.engine.opened import inputs_apart
from regraft.engine.processes import Processes, SharedCheckpoints, joined
from regraft.engine.stream_data import StreamData
from regraft.inference.cache import keep_within
from regraft.plans import Plan, plan_hash, write_plan
from regraft.sources import Source
from regraft.targets import Prepared, Target, check_reads, load_target, prepare
from regraft.targets.aside import columns_aside


def fit(
    plan: Plan | str | Path,
    target: Target | str | Path,
    *,
    out: str | Path,
    sources: Mapping[str, Source] | None = None,
    builder: Any = None,
    network: Any = None,
    streams: Mapping[str, Any] | None = None,
    settings: Settings | None = None,
    max_unreadable: float = 0.05,
    slices: Sequence[str] = (),
    choice: Choice | None = None,
    board: Board | None = None,
    command: Sequence[str] = (),
) -> Run:
    """Carry out a plan on a target and write the bundle.

    Example::

        run = rg.fit(plan, target, out="runs/leaves")
        run.predict(["new.jpg"])

    Parameters
    ----------
    plan
        A Plan, or a YAML file.
    target
        A Target, or where one can be loaded from.
    out
        A folder that does not exist yet or is empty.
    sources
        Opened sources by their names in the plan; others are found by name.
    builder
        What builds a network of your own, ``module:function`` or a callable. A plan never names it.
    network
        The network of a model whose plan names one beside its source: a Source, or what builds it. Without
        it ``builder`` is what builds that network.
    streams
        By the plan's names, data of streams that read other data than the target: with labels (a Target, or
        what one is loaded from), of the same classes or, with ``heads: own``, of any; or without (paths,
        texts, arrays).
    settings
        Device, threads, backend.
    max_unreadable
        The share of examples that may turn out unreadable.
    slices
        Columns of the data for whose values the final figures are also given; ``folder`` of a folder of
        images, ``NAME.COLUMN`` of several targets.
    choice
        What chose the plan; ``run.json`` keeps it.
    board
        What chose the source; ``ranking.json`` keeps it.

    Raises
    ------
    UsageError
        Where ``out`` holds something already.
    UnreadableError, LinkError, PlanError, TrainingError
        Where the work cannot be done; the run's folder says how far it came.
    """
    written = as_plan(plan)
    settings = settings or Settings()
    with joined(settings) as processes:
        if processes.leads:
            check_folder(Path(out))
        data = target if isinstance(target, Target) else load_target(target)
        # What the call itself has wrong is found before anything is written.
        check_plan(written)
        opened = open_models(written, sources, builder, network)
        check_reads(opened["student"].network.preprocessing, data)
        settings.apply()
        check_loggers(settings.loggers)
        columns_aside(data.select(data.test), slices)  # a name may be wrong
        processes.same(data=data.fingerprint, plan=plan_hash(written))
        with _held(Path(out), processes):
            others = find_streams(written, streams, Path(out) if processes.leads else None)
            kept = data.save(Path(out) / "data") if processes.leads else data
            run = _begin(
                Path(out), written, kept, settings, opened, builder, max_unreadable, command, processes
            )
            if slices:
                run.note(slices=list(slices))
            if choice is not None:
                run.note(choice=choice.to_json())
            chosen = selection_of(board, choice)
            if chosen is not None:
                run.note(selection=chosen.to_json())
            if board is not None and processes.leads:
                write_json(run.folder / "ranking.json", board.to_json())
            if others:
                run.note(streams={name: {"origin": other.origin} for name, other in others.items()})
            return _carry_out(run, written, kept, settings, opened, processes, others)


def _begin(
    folder: Path,
    plan: Plan,
    target: Target,
    settings: Settings,
    opened: dict[str, Opened],
    builder: Any,
    max_unreadable: float,
    command: Sequence[str],
    processes: Processes,
) -> Run:
    begun: dict[str, Any] = {"hashes": {"plan": plan_hash(plan), "data": target.fingerprint}}
    if processes.leads:
        write_plan(plan, folder / "plan.yaml")  # before run.json: what has a run.json can be resumed
        begun = note_beginning(folder, plan, target, opened, settings)
    return Run.begin(
        folder,
        {
            "command": list(command) or [Path(sys.argv[0]).name, *sys.argv[1:]],
            "seed": plan.seed,
            "strategy": plan.strategy,
            "origin": target.origin,
            "max_unreadable": max_unreadable,
            "settings": asdict(settings),
            "processes": processes.to_json(),
            **begun,
        },
        builder=opened["student"].network.handed or builder,
        opened=opened,
        writes=processes.leads,
    )


def resume(
    folder: str | Path,
    *,
    sources: Mapping[str, Source] | None = None,
    builder: Any = None,
    network: Any = None,
    streams: Mapping[str, Any] | None = None,
    settings: Settings | None = None,
) -> Run:
    """Go on with a run that was interrupted or killed; the result is what it would have been, to the bit.

    ``sources``, ``builder``, ``network`` and ``streams`` are those of :func:`regraft.fit`; streams whose data
    lie on disk are found again.
    Raises :class:`ResumeError` where the data, the plan or the source's weights are no longer those of the
    run, saying what changed, and where another process is working on it. Other packages, threads or settings
    than the run began with are told, and it goes on.
    """
    run = Run.load(folder, builder=builder)
    if _is_over(run):
        return run
    settings = settings or Settings(**run.facts["settings"])
    with joined(settings) as processes, _held(run.folder, processes):
        run = Run.load(folder, builder=builder)  # as it is now that nobody else writes it
        run.writes = processes.leads
        return _resume(run, settings, processes, sources, network, streams)


@contextmanager
def _held(folder: Path, processes: Processes) -> Iterator[None]:
    """Keep other runs out of the folder; what a full disk raises, wherever it was met, says what to do."""
    told = full_disk_told(
        f"the run in {folder} stopped",
        "What was written before is whole; free some space (regraft cache --clear removes what can be made "
        f"again), then: {processes.command(f'resume {folder}')}",
    )
    with locked(folder) if processes.leads else nullcontext(), told:
        yield


def _is_over(run: Run) -> bool:
    """Whether there is nothing left to do, which is said aloud."""
    over = run.status == "done" and not (run.folder / "checkpoints").is_dir()
    if over:
        say(f"{run.folder} is done already; there is nothing to go on with.")
    return over


def _resume(
    run: Run,
    settings: Settings,
    processes: Processes,
    sources: Mapping[str, Source] | None,
    network: Any,
    streams: Mapping[str, Any] | None,
) -> Run:
    if run.status == "done":  # killed between its last figures and its report
        if run.writes:
            close(run)
        return run
    _check_world(run, processes)
    plan, again = run.plan, processes.command(f"resume {run.folder}")
    tell_moved(run)
    target = find_data(run, again)
    check_plan_and_data(run, plan, target)
    opened = open_models(plan, sources, run.builder, network)
    check_sources(run, opened)
    check_loggers(settings.loggers)
    compare_circumstances(run, settings, plan)
    run.opened, run.builder = opened, opened["student"].network.handed or run.builder
    others = find_streams_again(run, streams, again)
    # A run that could still say how it ended was not killed.
    killed = killed_for_memory(run.folder) if run.status == "running" else None
    return _carry_out(run, plan, target, settings, opened, processes, others, killed)


def _check_world(run: Run, processes: Processes) -> None:
    """A batch is shared by the processes of a run, so that as many have to go on with it."""
    then = run.facts.get("processes", Processes().to_json())
    if then["world"] != processes.world:
        begun = replace(processes, world=then["world"])
        raise ResumeError(
            f"{run.folder} was begun by {_counted(then['world'])} and {_counted(processes.world)} would go "
            f"on: steps would read other batches. Type: {begun.command(f'resume {run.folder}')}"
        )


def _counted(world: int) -> str:
    return "1 process" if world == 1 else f"{world} processes"


@contextmanager
def _status(run: Run, processes: Processes) -> Iterator[None]:
    """Leave the run's folder saying how it ended."""
    try:
        yield
    except KeyboardInterrupt:
        line = processes.command(f"resume {run.folder}")
        run.note(status="interrupted", outcome=f"Interrupted; go on with: {line}")
        raise
    except Exception as error:
        try:
            if isinstance(error, UnreadableError) and run.writes:
                write_unreadable(run, error.unreadable)
            run.note(status="failed", outcome=str(error))
        except OSError as second:
            # A full disk cannot take the note either; what run.json said before is whole, and the first error
            # is the one to tell.
            if not is_full_disk(second):
                raise
        raise


def open_run(
    folder: Path,
    *,
    sources: Mapping[str, Source] | None,
    builder: Any,
    network: Any,
    streams: Mapping[str, Any] | None,
) -> Workspace:
    """The workspace of a run as it began, to look at: nothing of the run's folder is changed."""
    run = Run.load(folder, builder=builder)
    run.writes = False
    again = f"regraft replay {folder}"
    plan, target = _as_one_process(run), find_data(run, again)
    opened = open_models(plan, sources, builder, network)
    steps = opened["student"].network.preprocessing
    allowed = run.facts["max_unreadable"]
    prepared = prepare(target, steps, max_unreadable=allowed)
    found = find_streams_again(run, streams, again)
    others = prepare_streams(found, plan, prepared.target.tasks, steps, max_unreadable=allowed)
    return _open(run, plan, prepared, opened, Settings(**run.facts["settings"]), Processes(), others)


def _as_one_process(run: Run) -> Plan:
    """The plan that reads in one process what all processes of the run read at a step."""
    world, plan = run.facts.get("processes", Processes().to_json())["world"], run.plan
    streams = {
        name: one.model_copy(update={"batch": one.batch * world}) for name, one in plan.streams.items()
    }
    return plan.model_copy(update={"streams": streams})


def _carry_out(
    run: Run,
    plan: Plan,
    target: Target,
    settings: Settings,
    opened: dict[str, Opened],
    processes: Processes,
    others: Mapping[str, OtherData],
    killed: Killed | None = None,
) -> Run:
    start = time.monotonic()
    student = opened["student"]
    with _status(run, processes):
        steps = student.network.preprocessing
        with processes.leader_first("while the examples are decoded"):
            allowed = run.facts["max_unreadable"]
            prepared = prepare(target, steps, max_unreadable=allowed)
            made = prepare_streams(others, plan, prepared.target.tasks, steps, max_unreadable=allowed)
        record_streams(run, others, made)
        doubles = find_doubles(run, prepared) if run.writes else None
        run.note(status="running")
        work = _open(run, plan, prepared, opened, settings, processes, made)
        work.killed = killed
        work.notes += doubles.sentences(work.target) if doubles else ()
        work.spend("read", time.monotonic() - start)
        if "findings" not in run.facts:
            note_findings(run, shape_of_run(work))
        with logging_to(run, settings.loggers, work.history):
            execute(work)
        finish(run, work, student, start, doubles)
        run.facts.update(processes.share(run.facts))
    return run


def _open(
    run: Run,
    plan: Plan,
    prepared: Prepared,
    opened: dict[str, Opened],
    settings: Settings,
    processes: Processes,
    others: Mapping[str, StreamData],
) -> Workspace:
    target = prepared.target
    for note in target.notes:
        say(note)
    keep_within(settings.cache_limit)
    draw = draw_examples(plan, target)
    tasks = fitted_tasks(target, draw)
    headed = headed_tasks(plan, tasks, others)
    links = {name: link_of(plan, name, pair, headed) for name, pair in opened.items()}
    if run.writes:
        write_records(run, target, draw, links, others)
    folder = run.folder / "checkpoints"
    return open_workspace(
        plan,
        target,
        prepared.inputs,
        links,
        tasks,
        draw,
        settings=settings,
        history=History(run.folder / "history.jsonl" if run.writes else None),
        checkpoints=SharedCheckpoints(folder, processes) if processes.many else Checkpoints(folder),
        processes=processes,
        others=others,
        own_inputs=inputs_apart(opened, prepared),
    )
