"""A choice as a small table."""

from __future__ import annotations

from regraft.choosing.auto.choice import Choice, Row
from regraft.choosing.auto.judging import Measure
from regraft.core.console import duration

_COLUMNS = ("strategy", "", "95% interval", "best in", "folds", "time", "")


def choice_table(choice: Choice) -> str:
    """A line for each strategy that was tried, then what was left out, and the decision in a sentence."""
    measure = Measure(choice.measure["name"], choice.measure["percent"], choice.measure["higher_is_better"])
    tried = [_cells(row, measure) for row in choice.rows if row.folds]
    lines = list[str]()
    if tried:
        head = (_COLUMNS[0], choice.measure["name"], *_COLUMNS[2:])
        widths = [max(len(row[k]) for row in [head, *tried]) for k in range(len(head))]
        for row in [head, *tried]:
            lines.append(
                "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            )
    lines += [f"left out: {sentence}" for sentence in choice.skipped]
    return "\n".join([*lines, f"Strategy: {choice.sentence}"])


def _cells(row: Row, measure: Measure) -> tuple[str, ...]:
    low, high = (measure.shown(end) if end is not None else "" for end in (row.low, row.high))
    steps = "" if row.steps == 1 else f", {row.steps:.0%} of its steps"
    return (
        row.name,
        "" if row.figure is None else measure.shown(row.figure),
        f"{low} to {high}",
        "" if row.chance is None else f"{row.chance:.0%}",
        str(row.folds),
        duration(row.seconds),
        f"{row.decision}{steps}" + (f": {row.why}" if row.why else ""),
    )
