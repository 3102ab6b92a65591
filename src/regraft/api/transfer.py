"""``rg.transfer``: all of it, from data to a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from regraft.api.auto import choose_plan
from regraft.api.budget import AUTO, deadline_of, note_spent
from regraft.api.fit import fit
from regraft.api.opening import check_companions, check_folder, link_of, open_models, open_pair
from regraft.api.plan import as_plan, plan as make_plan
from regraft.api.rank import ranked
from regraft.core.console import say
from regraft.core.deadline import Deadline
from regraft.core.errors import UsageError
from regraft.core.executors import LOCAL, read_engine
from regraft.engine import Run, Settings, check_plan
from regraft.engine.processes import leads
from regraft.linking import Blueprint, Link, find_link
from regraft.plans import Plan
from regraft.sources import Source, default_source
from regraft.targets import Target, load_target
from regraft.targets.aside import columns_aside
from regraft.tasks import make_task


def transfer(
    target: Target | str | Path,
    *,
    out: str | Path,
    source: str | Source | None = None,
    network: Any = None,
    strategy: str = "probe",
    plan: Plan | str | Path | None = None,
    seed: int = 0,
    per_class: int | None = None,
    train_size: int | None = None,
    changes: Sequence[str] = (),
    maps: Sequence[str] = (),
    waivers: Sequence[str] = (),
    streams: Mapping[str, Any] | None = None,
    settings: Settings | None = None,
    max_unreadable: float = 0.05,
    slices: Sequence[str] = (),
    budget: float | str | Deadline | None = None,
    search: int | None = None,
    engine: str = LOCAL,
    command: Sequence[str] = (),
    **options: Any,
) -> Run:
    """Link a source to a target, plan, fit, and score on held-out data: one call, a finished run.

    Example::

        run = rg.transfer("leaves/", out="runs/leaves")
        print(run.facts["outcome"])

    Parameters
    ----------
    target
        A Target, or where one can be loaded from.
    out
        The run's folder.
    source
        A name or a Source; one that fits the data if not given. ``auto`` ranks all that can be used here
        offline, see :func:`regraft.rank`, in two minutes at the most; beside the strategy ``auto``, in a
        quarter of the budget at the most.
    network
        The target model's network, where it is not the source's own: a source's name (its weights are not
        used), a Source, or what builds a network of your own, ``module:function`` or a function.
    strategy, seed, per_class, train_size, changes
        See :func:`regraft.plan` (``changes`` are its ``settings``).
    plan
        A plan to carry out instead of writing one.
    maps, waivers
        See :func:`regraft.link`: renamings of source tensors, patterns of rows that are excused.
    streams, slices
        See :func:`regraft.fit`. For ``auto`` labelled source data, ``{"source": data}``, let ``joint`` enter.
    budget
        For the strategy ``auto``, what all of this call may take: seconds, or ``"3m"``; if not given 5
        minutes, or ten times what a probe is priced at where that is more. See :mod:`regraft.api.auto`.
    search
        For the strategy ``auto``, how many settings of the best strategy a search may try, in place of a
        small portfolio; needs Optuna.
    engine
        For the strategy ``auto`` and the source ``auto``: what carries out what is tried, ``local``,
        ``processes`` or ``ray``, as :func:`regraft.rank` says.
    settings
        Device, threads, backend.
    max_unreadable
        The share of examples that may turn out unreadable.
    options
        What the source is opened with, as in ``size=96``; ``size`` is the network's where there is one.
    """
    if leads():
        check_folder(Path(out))
    deadline = deadline_of(budget, strategy, search)
    _check_engine(engine, chooses=plan is None and AUTO in (strategy, source))
    data = _opened(target, slices)
    sources: dict[str, Source] = {}
    choice = None
    drawn: dict[str, Any] = {"seed": seed, "per_class": per_class, "train_size": train_size}
    asked = {**drawn, **options, "settings": settings, "network": network}
    found = ranked(source if plan is None else None, data, deadline=deadline, engine=engine, **asked)
    if plan is None and strategy == AUTO:
        link = open_link(data, source=found.source, network=network, maps=maps, waivers=waivers, **options)
        chosen = choose_plan(
            link,
            data,
            deadline=deadline,
            **drawn,
            changes=changes,
            streams=streams,
            settings=settings,
            max_unreadable=max_unreadable,
            search=search,
            engine=engine,
        )
        plan, sources, choice = chosen.plan, {link.source.name: link.source}, chosen.choice
        streams, settings = chosen.streams, chosen.settings
        network = link.graft.source if chosen.plan.models["student"].network else None
    elif plan is None:
        written, link = prepare_plan(
            data,
            source=found.source,
            network=network,
            maps=maps,
            waivers=waivers,
            strategy=strategy,
            **drawn,
            changes=changes,
            settings=settings,
            **options,
        )
        plan, sources = written, {link.source.name: link.source}
        network = link.graft.source if written.models["student"].network else None
    run = fit(
        plan,
        data,
        out=out,
        sources=sources,
        builder=options.get("builder"),
        network=network,
        streams=streams,
        settings=settings,
        max_unreadable=max_unreadable,
        slices=slices,
        choice=choice,
        board=found.board,
        command=command,
    )
    if choice is not None:
        note_spent(run, choice, deadline)
    return run


def _check_engine(engine: str, *, chooses: bool) -> None:
    """Raise ``UsageError`` for an engine that there is not, or where nothing is chosen that it could try."""
    if read_engine(engine).name != LOCAL and not chooses:
        raise UsageError(
            f"--engine {engine} is for what is tried before a run begins: write --strategy auto or --source "
            "auto, or leave --engine out. A run by itself goes in several processes by torchrun"
        )


def _opened(target: Target | str | Path, slices: Sequence[str]) -> Target:
    """The data; the name of a slice may be wrong, and choosing takes minutes before anybody would see it."""
    data = target if isinstance(target, Target) else load_target(target)
    columns_aside(data.select(data.test), slices)
    return data


def prepare_plan(
    target: Target,
    *,
    source: str | Source | None,
    strategy: str,
    network: Any = None,
    maps: Sequence[str] = (),
    waivers: Sequence[str] = (),
    seed: int = 0,
    per_class: int | None = None,
    train_size: int | None = None,
    changes: Sequence[str] = (),
    settings: Settings | None = None,
    **options: Any,
) -> tuple[Plan, Link]:
    """The plan for a target, with the link that it was written for; arguments as for :func:`transfer`."""
    drawn: dict[str, Any] = {"seed": seed, "per_class": per_class, "train_size": train_size}
    found = ranked(source, target, network=network, **drawn, settings=settings, **options)
    link = open_link(target, source=found.source, network=network, maps=maps, waivers=waivers, **options)
    written = make_plan(
        link,
        strategy,
        **drawn,
        settings=changes,
    )
    check_companions(written, link.source)
    return written, link


def open_link(
    target: Target,
    *,
    source: str | Source | None,
    network: Any = None,
    maps: Sequence[str] = (),
    waivers: Sequence[str] = (),
    **options: Any,
) -> Link:
    """The link from a source to a target; arguments as for :func:`transfer`."""
    name = source or default_source(target.modality)
    if source is None:
        say(f"Source: {name}, the default for {target.modality} data; `regraft sources` lists others.")
    opened = open_pair(name, network, options)
    blueprint = Blueprint(opened.network, tuple(make_task(spec) for spec in target.tasks))
    return find_link(opened.weights, blueprint, maps=maps, waivers=waivers)


def checked_plan(
    target: Target, plan: Plan | str | Path, *, builder: Any = None, network: Any = None
) -> tuple[Plan, Link]:
    """A plan that a person wrote or edited, read over, with its student's link to a target.

    Raises :class:`PlanError` for what could not be carried out, as far as it shows before data are read.
    """
    written = as_plan(plan)
    check_plan(written)
    opened = open_models(written, None, builder, network)
    tasks = {spec.name: make_task(spec) for spec in target.tasks}
    return written, link_of(written, "student", opened["student"], tasks)
