"""A comparison as tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from regraft.report._words import MISSING, difference, ending, interval, shortened
from regraft.report.comparison._aspects import Aspect
from regraft.report.comparison._groups import Entry, Group
from regraft.report.comparison._runs import ComparedRun

_WIDEST, _MOST = 36, 30


def comparison_table(runs: Sequence[ComparedRun], groups: Sequence[Group], aspects: Sequence[Aspect]) -> str:
    """The figures of each group, then what differs, a column for each run."""
    parts = [_figures(group) for group in groups]
    different = [one for one in aspects if one.differs]
    if different:
        rows = [["", *(run.name for run in runs)], *([one.name, *one.values] for one in different[:_MOST])]
        untold = len(different) - _MOST
        parts.append(_aligned(rows) + (f"\nand {untold} more, on the page" if untold > 0 else ""))
    return "\n\n".join(parts)


def _figures(group: Group) -> str:
    rows = [[f"{group.output}: {group.metric}", "95% interval in brackets", *_heading(group)]]
    rows += [[entry.run.name, figure_of(entry, group), *_gap(entry, group)] for entry in group.entries]
    return _aligned(rows) + (f"\n{group.why}" if group.why else "")


def _heading(group: Group) -> list[str]:
    return [f"better than {group.entries[0].run.name} by"] if group.paired else []


def figure_of(entry: Entry, group: Group) -> str:
    """A run's figure with its interval."""
    return interval(entry.value, entry.low, entry.high, percent=group.percent)


def gap_of(entry: Entry, group: Group) -> str:
    """Its lead over the first run; a dash for the first itself."""
    found = entry.difference
    return MISSING if found is None else difference(found.value, found.low, found.high, percent=group.percent)


def _gap(entry: Entry, group: Group) -> list[str]:
    return [gap_of(entry, group)] if group.paired else []


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    cells = [
        # What tells names of runs apart stands at their ends.
        [
            (shortened if number else ending)(cell, _WIDEST) if column else cell
            for column, cell in enumerate(row)
        ]
        for number, row in enumerate(rows)
    ]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells)
    return "\n".join(line.rstrip() for line in lines)
