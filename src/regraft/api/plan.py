"""``rg.plan``: how is it trained? The answer is data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from regraft.api.budget import AUTO, deadline_of
from regraft.api.trainable import follow_trainable
from regraft.core.errors import UsageError
from regraft.linking import Link
from regraft.plans import DrawSpec, Plan, change_plan, read_plan
from regraft.strategies import plan_for
from regraft.targets import Target


def plan(
    link: Link,
    strategy: str = "probe",
    *,
    seed: int = 0,
    train_size: int | None = None,
    per_class: int | None = None,
    validation: float = 0.2,
    settings: Sequence[str] = (),
    target: Target | None = None,
    budget: float | str | None = None,
    streams: Mapping[str, Any] | None = None,
) -> Plan:
    """The plan that a strategy writes for a link. Nothing is run, but for ``auto``, which tries several.

    Parameters
    ----------
    strategy
        ``probe``, ``lpft``, ``full`` and others, which ``regraft plan --list`` names; some take an argument,
        as in ``lpft:all``.
    train_size, per_class
        How many labelled examples to use, for training and validation together; all of the pool if not given.
    validation
        The share of them that validates.
    settings
        Changes, ``KEY=VALUE``, as in ``stop.epochs=5`` or ``trainable=blocks.{9..11},head``.
    target, budget, streams
        Of ``auto`` alone: the data on which strategies race, what the race and the fit after it may take
        (seconds, or ``"5m"``), and labelled source data for ``joint``. See :mod:`regraft.api.auto`.
    """
    if strategy == AUTO:
        return _raced(link, target, budget, validation, seed, train_size, per_class, list(settings), streams)
    deadline_of(budget, strategy)
    draw = DrawSpec(validation=validation, train_size=train_size, per_class=per_class)
    written = plan_for(link, strategy, seed=seed, draw=draw)
    if not settings:
        return written
    return follow_trainable(written, change_plan(written, list(settings)), link)


def _raced(
    link: Link,
    target: Target | None,
    budget: float | str | None,
    validation: float,
    seed: int,
    train_size: int | None,
    per_class: int | None,
    settings: list[str],
    streams: Mapping[str, Any] | None,
) -> Plan:
    from regraft.api.auto import choose_plan

    if target is None:
        raise UsageError(
            "auto is a race, which trains several strategies on the data: regraft fit DATA --strategy auto "
            '--budget 5m --out DIR writes the plan that won, rg.plan(link, "auto", target=target) returns it'
        )
    chosen = choose_plan(
        link,
        target,
        deadline=deadline_of(budget, AUTO),
        seed=seed,
        train_size=train_size,
        per_class=per_class,
        validation=validation,
        changes=settings,
        streams=streams,
    )
    return chosen.plan


def as_plan(given: Plan | str | Path) -> Plan:
    """A plan, or the plan in a YAML file."""
    return given if isinstance(given, Plan) else read_plan(given)
