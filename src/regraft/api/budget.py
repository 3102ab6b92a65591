"""What a call may take: read from what a person wrote, and what it took in the end."""

from __future__ import annotations

from dataclasses import replace

from regraft.choosing.auto.choice import Choice
from regraft.core.console import duration, say
from regraft.core.deadline import Deadline, seconds_of
from regraft.core.errors import UsageError
from regraft.engine import Run

AUTO = "auto"


def deadline_of(budget: float | str | Deadline | None, strategy: str, search: int | None = None) -> Deadline:
    """The clock of a call that begins now, or began when its deadline was made."""
    if search is not None and strategy != AUTO:
        raise UsageError(
            f"a search for settings is part of --strategy auto, and {strategy} has its own: leave --search "
            "out, or write --strategy auto; --set changes a setting by hand"
        )
    begun = budget if isinstance(budget, Deadline) else None
    given = begun.seconds if begun else budget
    if given is not None and strategy != AUTO:
        raise UsageError(
            f"a budget is what --strategy auto may take, and {strategy} takes what it takes: leave --budget "
            "out, or write --strategy auto"
        )
    if begun is not None:
        return begun
    return Deadline(None if budget is None else seconds_of(str(budget)))


def note_spent(run: Run, choice: Choice, deadline: Deadline) -> None:
    """Write what the whole call took into ``run.json``, and say it."""
    spent = deadline.spent
    run.note(choice=replace(choice, spent_seconds=round(spent, 3)).to_json())
    budget = choice.budget_seconds
    limit = "" if budget is None else f" of the budget of {duration(budget)}"
    fitted, foretold = spent - choice.race_seconds, choice.final_seconds
    say(
        f"{duration(spent)}{limit}: {duration(choice.race_seconds)} until {choice.winner} was chosen, "
        f"{duration(fitted)} for the final fit ({duration(foretold)} foretold)."
    )
