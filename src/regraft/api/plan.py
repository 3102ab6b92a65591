"""``rg.plan``: how is it trained? The answer is data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from regraft.api.trainable import follow_trainable
from regraft.linking import Link
from regraft.plans import DrawSpec, Plan, change_plan, read_plan
from regraft.strategies import plan_for


def plan(
    link: Link,
    strategy: str = "probe",
    *,
    seed: int = 0,
    train_size: int | None = None,
    per_class: int | None = None,
    validation: float = 0.2,
    settings: Sequence[str] = (),
) -> Plan:
    """The plan that a strategy writes for a link. Nothing is run.

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
    """
    draw = DrawSpec(validation=validation, train_size=train_size, per_class=per_class)
    written = plan_for(link, strategy, seed=seed, draw=draw)
    if not settings:
        return written
    return follow_trainable(written, change_plan(written, list(settings)), link)


def as_plan(given: Plan | str | Path) -> Plan:
    """A plan, or the plan in a YAML file."""
    return given if isinstance(given, Plan) else read_plan(given)
