"""Figures of each class with their intervals, those that are worst first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from regraft.report._charts import Dot, DotPlot
from regraft.report._figures import axis_writer
from regraft.report._scale import Scale, scale_of
from regraft.report._words import class_name, count, interval, is_number, numbers

_SHOWN, _MOST = 12, 300

Json = dict[str, Any]


@dataclass(frozen=True)
class ClassesView:
    """F1 of each class as dots, the worst first, the rest folded; precision, recall, F1, count in rows."""

    plot: DotPlot
    rest: DotPlot | None
    rows: tuple[tuple[str, str, str, str, str], ...]
    untold: int


def classes_view(per_class: Json) -> ClassesView | None:
    """The classes of an output, from ``metrics.json``; None where none has a figure."""
    rows = [(str(name), row) for name, row in per_class.items() if isinstance(row, dict)]
    known = sorted(((name, row) for name, row in rows if is_number(row.get("f1"))), key=_badness)
    if not known:
        return None
    unknown = [(name, row) for name, row in rows if not is_number(row.get("f1"))]
    scale = scale_of([value for _, row in known for value in _ends(row)], least=0.0, most=1.0, narrowest=0.1)
    dots = [_dot(name, row, scale) for name, row in known[:_MOST]]
    # One or two classes behind a fold would cost more room than they save.
    cut = len(dots) if len(dots) <= _SHOWN + 3 else _SHOWN
    shown = [*known, *unknown][:_MOST]
    return ClassesView(
        plot=_plot(dots[:cut], scale),
        rest=_plot(dots[cut:], scale) if dots[cut:] else None,
        rows=tuple(_row(name, row) for name, row in shown),
        untold=len(rows) - len(shown),
    )


def _badness(pair: tuple[str, Json]) -> float:
    return float(pair[1]["f1"])


def _between(row: Json, key: str) -> tuple[Any, Any]:
    """The ends of a figure's interval, where there is one."""
    found = (row.get("intervals") or {}).get(key)
    return (found[0], found[1]) if isinstance(found, list) and len(found) == 2 else (None, None)


def _ends(row: Json) -> list[float]:
    return numbers([row["f1"], *_between(row, "f1")])


def _dot(name: str, row: Json, scale: Scale) -> Dot:
    low, high = _between(row, "f1")
    return Dot(
        label=class_name(name),
        text=interval(row["f1"], low, high, percent=True),
        at=scale.at(row["f1"]),
        low=scale.at(low) if is_number(low) else None,
        high=scale.at(high) if is_number(high) else None,
        tag=f"{count(row.get('count'))} examples",
    )


def _plot(dots: list[Dot], scale: Scale) -> DotPlot:
    axis = "F1 on the test part, 95% interval; the worst class first"
    return DotPlot("F1 of each class", tuple(dots), scale.ticks(axis_writer(True)), axis)


def _row(name: str, row: Json) -> tuple[str, str, str, str, str]:
    precision, recall, f1 = (
        interval(row.get(key), *_between(row, key), percent=True) for key in ("precision", "recall", "f1")
    )
    return class_name(name), precision, recall, f1, count(row.get("count"))
