"""What accuracy costs: candidates by seconds to fine-tune and predicted figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from regraft.report._charts import Mark, Plane, Point, places
from regraft.report._figures import axis_writer
from regraft.report._labels import Place, places_for
from regraft.report._scale import Scale, Tick, log_axis, scale_of
from regraft.report._words import figure, is_number, seconds, shortened

_LONGEST = 24
_CLOCK = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 18000, 36000, 86400)
_NARROW = 13.0  # percent of the width that a tick's text takes on a telephone

Json = dict[str, Any]


def cost_plane(rows: Sequence[Json], board: Json) -> Plane | None:
    """The scatter; None where fewer than two candidates have both figures."""
    known = [row for row in rows if is_number(row.get("predicted")) and is_number(row.get("seconds"))]
    known = [row for row in known if row["seconds"] > 0]
    x = log_axis(row["seconds"] for row in known)
    if len(known) < 2 or x is None:
        return None
    percent = bool(board.get("percent"))
    limits = {"least": 0.0, "most": 1.0} if percent else {}
    values = [row["predicted"] for row in known]
    y = scale_of(values, margin=0.12, narrowest=0.02 if percent else 0.0, **limits)
    metric = str(board.get("metric") or "figure")
    marks = _marks(known, x, y, percent)
    return Plane(
        title=f"Predicted {metric} against the time to fine-tune",
        across="time to fine-tune (logarithmic)",
        up=f"predicted {metric}",
        x_ticks=clock_ticks(x),
        y_ticks=y.ticks(axis_writer(percent), most=6),
        caption=_caption(board, sum(not mark.label for mark in marks)),
        marks=marks,
    )


def _caption(board: Json, unnamed: int) -> str:
    corner = "top" if board.get("higher_is_better", True) else "bottom"
    rest = f" {unnamed} that stand close together are not named; the table has them." if unnamed else ""
    return f"The {corner} left is good and cheap.{rest}"


def clock_ticks(x: Scale) -> tuple[Tick, ...]:
    """Times that people say, along a logarithmic axis; round steps where these are too far apart."""
    ticks = x.ticks_at(_CLOCK, _clock, apart=_NARROW)
    if len(ticks) >= 2:
        return ticks
    unit = _unit(x.low)[0]
    steps = Scale(x.low / unit, x.high / unit).round_values(4)
    return x.ticks_at((step * unit for step in steps), _clock, apart=_NARROW)


def _unit(value: float) -> tuple[float, str]:
    return (1.0, "s") if value < 60 else (60.0, "min") if value < 3600 else (3600.0, "h")


def _clock(value: float) -> str:
    size, name = _unit(value)
    return f"{value / size:g} {name}"


def _marks(rows: Sequence[Json], x: Scale, y: Scale, percent: bool) -> tuple[Mark, ...]:
    points = places([(float(row["seconds"]), float(row["predicted"])) for row in rows], x, y)
    names = short_names([str(row.get("name", "")) for row in rows])
    labels = _labels(rows, points, names)
    told = zip(rows, points, names, labels, strict=True)
    return tuple(_mark(row, point, name, label, percent) for row, point, name, label in told)


def _labels(rows: Sequence[Json], points: Sequence[Point], names: Sequence[str]) -> list[Place | None]:
    """A label for each as far as there is room: the board's order, the naive choice second."""
    order = sorted(range(len(rows)), key=lambda at: (at > 0 and not rows[at].get("naive"), at))
    found = places_for([points[at] for at in order], [names[at] for at in order], sure=4)
    by_row = dict(zip(order, found, strict=True))
    return [by_row[at] for at in range(len(rows))]


def _mark(row: Json, point: Point, name: str, label: Place | None, percent: bool) -> Mark:
    decision = str(row.get("decision") or "")
    contends = decision in ("best", "as good as best")
    said = f"{row.get('name', '')}: {figure(row['predicted'], percent=percent)}, {seconds(row['seconds'])}"
    return Mark(
        at=point,
        said=f"{shortened(said, 160)}, {decision}{', naive choice' if row.get('naive') else ''}",
        label=name if label else "",
        dx=label.dx if label else 0.0,
        dy=label.dy if label else 0.0,
        anchor=label.anchor if label else "start",
        leader=bool(label and label.far),
        tone="accent" if contends else "faint",
        hollow=not contends,
        strong=decision == "best",
    )


def short_names(names: Sequence[str]) -> list[str]:
    """Names without what they are found by (``timm:``), where they stay different, cut in their middle."""
    bare = [name.partition(":")[2] or name for name in names]
    kept = [name if bare.count(short) > 1 else short for name, short in zip(names, bare, strict=True)]
    cut = [_cut(name) for name in kept]
    return [name if cut.count(short) > 1 else short for name, short in zip(kept, cut, strict=True)]


def _cut(name: str) -> str:
    line = " ".join(name.split())
    half = _LONGEST // 2
    return line if len(line) <= _LONGEST else f"{line[: half - 1]}…{line[-half:]}"
