"""The board as a table for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from regraft.choosing.ranking.row import Row
from regraft.core.console import duration
from regraft.core.memory import in_bytes


def table(rows: Sequence[Row], *, metric: str, percent: bool) -> str:
    """A line for each candidate; below it why it was dropped or failed."""
    head = ("source", metric, "80% interval", "fine-tuning", "memory", "parameters", "licence", "decision")
    lines = [head, *(_cells(row, percent) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    shown = []
    for line, row in zip(lines, (None, *rows), strict=True):
        shown.append("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
        if row is not None and row.decision not in ("best", "as good as best"):
            shown.append(f"    {row.reason}")
    return "\n".join(shown)


def figure(value: float | None, percent: bool) -> str:
    """A metric's value as it is printed."""
    if value is None:
        return "-"
    return f"{100 * value:.1f}%" if percent else f"{value:.4g}"


def _cells(row: Row, percent: bool) -> tuple[str, ...]:
    low, high = figure(row.low, percent), figure(row.high, percent)
    decision = f"{row.decision}{' (naive choice)' if row.naive else ''}"
    return (
        row.name,
        figure(row.predicted, percent),
        "-" if row.low is None else f"{low} to {high}",
        "-" if row.seconds is None else duration(row.seconds),
        "-" if row.memory is None else in_bytes(row.memory),
        f"{row.parameters / 1e6:.1f} M" if row.parameters else "-",
        row.licence or "-",
        decision,
    )
