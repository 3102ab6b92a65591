"""``rg.transfer``: all of it, from data to a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from regraft.api.fit import fit
from regraft.api.opening import check_companions, check_folder, link_of, open_models, open_pair
from regraft.api.plan import as_plan, plan as make_plan
from regraft.core.console import say
from regraft.engine import Run, Settings, check_plan
from regraft.engine.processes import leads
from regraft.linking import Blueprint, Link, find_link
from regraft.plans import Plan
from regraft.sources import Source, default_source
from regraft.targets import Target, load_target
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
        A name or a Source; one that fits the data if not given.
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
        See :func:`regraft.fit`.
    settings
        Device, threads, backend.
    max_unreadable
        The share of examples that may turn out unreadable.
    options
        What the source is opened with, as in ``size=96``; ``size`` is the network's where there is one.
    """
    if leads():
        check_folder(Path(out))
    data = target if isinstance(target, Target) else load_target(target)
    sources: dict[str, Source] = {}
    if plan is None:
        written, link = prepare_plan(
            data,
            source=source,
            network=network,
            maps=maps,
            waivers=waivers,
            strategy=strategy,
            seed=seed,
            per_class=per_class,
            train_size=train_size,
            changes=changes,
            **options,
        )
        plan, sources = written, {link.source.name: link.source}
        network = link.graft.source if written.models["student"].network else None
    return fit(
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
        command=command,
    )


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
    **options: Any,
) -> tuple[Plan, Link]:
    """The plan for a target, with the link that it was written for; arguments as for :func:`transfer`."""
    name = source or default_source(target.modality)
    if source is None:
        say(f"Source: {name}, the default for {target.modality} data; `regraft sources` lists others.")
    opened = open_pair(name, network, options)
    blueprint = Blueprint(opened.network, tuple(make_task(spec) for spec in target.tasks))
    link = find_link(opened.weights, blueprint, maps=maps, waivers=waivers)
    written = make_plan(
        link,
        strategy,
        seed=seed,
        per_class=per_class,
        train_size=train_size,
        settings=changes,
    )
    check_companions(written, link.source)
    return written, link


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
