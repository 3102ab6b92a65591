"""The decision in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from regraft.choosing.ranking.row import Row
from regraft.choosing.ranking.table import figure
from regraft.core.console import duration


def decide_sentence(
    rows: Sequence[Row], *, leader: str, naive: str, naive_by: str, metric: str, percent: bool
) -> str:
    """Who is best and how sure that is; who cannot be told apart; how the naive choice compares.

    ``rows`` stand in the board's order, and ``leader`` is the name of the one with the highest probability.
    """
    best = rows[0]
    if best.decision != "best":
        return "No candidate could be ranked: " + "; ".join(f"{row.name}: {row.reason}" for row in rows)
    shown = (
        f"predicted {metric} {figure(best.predicted, percent)} (80% interval {figure(best.low, percent)} to "
        f"{figure(best.high, percent)})"
    )
    said = [_first(rows, best, leader, shown)]
    said.append(_naive(rows, best, naive, naive_by, percent))
    return " ".join(one for one in said if one)


def _first(rows: Sequence[Row], best: Row, leader: str, shown: str) -> str:
    equal = [row for row in rows if row.decision == "as good as best"]
    tried = [row for row in rows if row.predicted is not None]
    if len(tried) == 1:
        return f"{best.name} is the only candidate that could be looked at: {shown}."
    if not equal:
        return f"{best.name} is the best: {shown}; probability to be it {best.chance:.0%}."
    names = ", ".join(row.name for row in equal)
    if leader == best.name:
        return (
            f"{best.name} leads ({best.chance:.0%} to be the best), but cannot be told apart from {names}: "
            f"{shown}."
        )
    first = next(row for row in equal if row.name == leader)
    return (
        f"{best.name} and {names} cannot be told apart ({first.name} leads with {first.chance:.0%} to be the "
        f"best); {best.name} is hardly worse and cheaper, {duration(best.seconds or 0.0)} to fine-tune "
        f"instead of {duration(first.seconds or 0.0)}: {shown}."
    )


def _naive(rows: Sequence[Row], best: Row, naive: str, by: str, percent: bool) -> str:
    row = next((one for one in rows if one.name == naive), None)
    if row is None or sum(one.predicted is not None for one in rows) < 2:
        return ""
    if row.name == best.name:
        return f"The naive choice ({by}) is the same."
    if row.predicted is None:
        return f"The naive choice ({by}) is {row.name}: {row.decision}."
    return (
        f"The naive choice ({by}) is {row.name}: {row.decision}, predicted {figure(row.predicted, percent)}."
    )
