"""What may not be typed beside a plan file."""

from __future__ import annotations

from pathlib import Path

import typer

from regraft.core.errors import UsageError

_SAID_BY_PLAN = {
    "source": "--source",
    "strategy": "--strategy",
    "budget": "--budget",
    "search": "--search",
    "per_class": "--per-class",
    "train_size": "--train-size",
    "seed": "--seed",
    "size": "--size",
    "maps": "--map",
    "waive": "--waive",
    "settings": "--set",
}
"""Options that write a plan, by the names of their parameters."""


def refuse_beside_plan(context: typer.Context, plan: Path | None) -> None:
    """A plan that is given says what these options would: typed beside it they would be lost."""
    if plan is None:
        return
    found = [option for name, option in _SAID_BY_PLAN.items() if typed(context, name)]
    if found:
        raise UsageError(
            f"--plan {plan} says all that {', '.join(found)} would; edit the plan file instead, or leave "
            "--plan out"
        )


def typed(context: typer.Context, name: str) -> bool:
    """Whether a person gave this option, and not its default."""
    found = context.get_parameter_source(name)
    return found is not None and found.name == "COMMANDLINE"
