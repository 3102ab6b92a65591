"""Where the model does worse: the deciding metric for each value of a column, against the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from regraft.report._charts import Dot, DotPlot
from regraft.report._figures import axis_writer
from regraft.report._folder import RunFolder
from regraft.report._scale import Scale, scale_of
from regraft.report._words import count, figure, interval, is_number, numbers, probability, shortened

_MOST = 60
_LONGEST = 60

Json = dict[str, Any]


@dataclass(frozen=True)
class SliceRow:
    """A line of the table of slices."""

    value: str
    count: str
    text: str
    rest: str
    p: str
    worse: bool


@dataclass(frozen=True)
class SlicesView:
    """One column of one output."""

    column: str
    output: str
    metric: str
    plot: DotPlot | None
    rows: tuple[SliceRow, ...]
    untold: int


def slices_views(folder: RunFolder) -> tuple[SlicesView, ...]:
    """Every output's columns in their order."""
    found = []
    for name, output in (folder.metrics.get("outputs") or {}).items():
        rows = [row for row in output.get("slices") or [] if isinstance(row, dict)]
        columns = dict.fromkeys(str(row.get("column", "")) for row in rows)
        for column in columns:
            inside = [row for row in rows if str(row.get("column", "")) == column]
            found.append(_view(str(name), output, column, inside))
    return tuple(found)


def _view(name: str, output: Json, column: str, rows: Sequence[Json]) -> SlicesView:
    metric = str(output.get("deciding") or "")
    facts = (output.get("metrics") or {}).get(metric) or {}
    percent = bool(facts.get("percent"))
    return SlicesView(
        column=shortened(column, _LONGEST),
        output=name,
        metric=metric,
        plot=_plot(rows, metric, facts, percent),
        rows=tuple(_row(row, percent) for row in rows[:_MOST]),
        untold=max(0, len(rows) - _MOST),
    )


def _plot(rows: Sequence[Json], metric: str, facts: Json, percent: bool) -> DotPlot | None:
    known = [row for row in rows if is_number(row.get("figure"))][:_MOST]
    if not known:
        return None
    whole = facts.get("value")
    ends = [value for row in known for value in numbers(row.get(key) for key in ("figure", "low", "high"))]
    limits = {"least": 0.0, "most": 1.0} if percent else {}
    scale = scale_of([*ends, *numbers([whole])], narrowest=0.04 if percent else 0.0, **limits)
    better = "higher" if facts.get("higher_is_better", True) else "lower"
    line = "; the line is the whole test part" if is_number(whole) else ""
    return DotPlot(
        title=f"Slices by {metric}",
        rows=tuple(_dot(row, scale, percent) for row in known),
        ticks=scale.ticks(axis_writer(percent)),
        axis=f"{metric}, 95% interval, {better} is better{line}",
        zero=scale.at(whole) if is_number(whole) else None,
    )


def _dot(row: Json, scale: Scale, percent: bool) -> Dot:
    low, high, worse = row.get("low"), row.get("high"), bool(row.get("worse"))
    tag = f"{count(row.get('count'))} examples"
    return Dot(
        label=shortened(row.get("value", ""), _LONGEST),
        text=interval(row["figure"], low, high, percent=percent),
        at=scale.at(row["figure"]),
        low=scale.at(low) if is_number(low) else None,
        high=scale.at(high) if is_number(high) else None,
        hollow=worse,
        tag=f"{tag}, worse than the rest" if worse else tag,
        strong=worse,
    )


def _row(row: Json, percent: bool) -> SliceRow:
    return SliceRow(
        value=shortened(row.get("value", ""), _LONGEST),
        count=count(row.get("count")),
        text=interval(row.get("figure"), row.get("low"), row.get("high"), percent=percent),
        rest=figure(row.get("rest"), percent=percent),
        p=probability(row.get("adjusted")),
        worse=bool(row.get("worse")),
    )
