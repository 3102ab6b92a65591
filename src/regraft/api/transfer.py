"""``rg.transfer``: all of it, from data to a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from regraft.api.fit import fit
from regraft.api.link import link as make_link
from regraft.api.opening import check_folder
from regraft.api.plan import plan as make_plan
from regraft.core.console import say
from regraft.engine import Run, Settings
from regraft.linking import Link
from regraft.plans import Plan
from regraft.sources import Source, default_source, find
from regraft.targets import Target, load_target


def transfer(
    target: Target | str | Path,
    *,
    out: str | Path,
    source: str | Source | None = None,
    strategy: str = "probe",
    plan: Plan | str | Path | None = None,
    seed: int = 0,
    per_class: int | None = None,
    train_size: int | None = None,
    changes: Sequence[str] = (),
    settings: Settings | None = None,
    max_unreadable: float = 0.05,
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
    strategy, seed, per_class, train_size, changes
        See :func:`regraft.plan` (``changes`` are its ``settings``).
    plan
        A plan to carry out instead of writing one.
    settings
        Device, threads, backend.
    max_unreadable
        The share of examples that may turn out unreadable.
    options
        What the source is opened with, as in ``size=96``.
    """
    check_folder(Path(out))
    data = target if isinstance(target, Target) else load_target(target)
    sources: dict[str, Source] = {}
    if plan is None:
        written, link = prepare_plan(
            data,
            source=source,
            strategy=strategy,
            seed=seed,
            per_class=per_class,
            train_size=train_size,
            changes=changes,
            **options,
        )
        plan, sources = written, {link.source.name: link.source}
    return fit(
        plan,
        data,
        out=out,
        sources=sources,
        builder=options.get("builder"),
        settings=settings,
        max_unreadable=max_unreadable,
        command=command,
    )


def prepare_plan(
    target: Target,
    *,
    source: str | Source | None,
    strategy: str,
    seed: int = 0,
    per_class: int | None = None,
    train_size: int | None = None,
    changes: Sequence[str] = (),
    **options: Any,
) -> tuple[Plan, Link]:
    """The plan for a target, with the link that it was written for."""
    name = source or default_source(target.modality)
    if source is None:
        say(f"Source: {name}, the default for {target.modality} data; `regraft sources` lists others.")
    opened = find(name, **options)
    link = make_link(opened, target)
    written = make_plan(
        link,
        strategy,
        seed=seed,
        per_class=per_class,
        train_size=train_size,
        settings=changes,
    )
    return written, link
