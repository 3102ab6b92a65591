"""Charts as geometry: what is drawn where, in percent of a plot that is as wide as the page lets it be.

All charts are hand-written SVG: the shapes here, the marks in ``templates/charts.html.j2``. The places are in
percent and the marks and letters in pixels, so that one chart is as legible on a telephone as on a desk; its
colours are the page's own, in light and dark and on paper; its letters stay text that can be read aloud and
searched; and whatever foreign text it shows goes through the same escaping as the rest of the page.
matplotlib's SVG scales the letters with the width, turns them to outlines, and would have to be recoloured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from regraft.report._scale import Scale, Tick

Point = tuple[float, float]


@dataclass(frozen=True)
class Bar:
    """A labelled bar, ``length`` 0 to 100."""

    label: str
    text: str
    length: float
    tone: str = "accent"


@dataclass(frozen=True)
class Dot:
    """One row of a dot plot: a mean with its interval, and the single values behind it, 0 to 100.

    ``hollow`` draws a diamond instead of a disc, ``tag`` is written beside the label, ``tone`` is that of
    filled and hollow marks if not given.
    """

    label: str
    text: str
    at: float
    low: float | None = None
    high: float | None = None
    points: tuple[float, ...] = ()
    hollow: bool = False
    tag: str = ""
    strong: bool = False
    tone: str = ""


@dataclass(frozen=True)
class DotPlot:
    """Rows over one axis; ``band`` (from, to) is shaded and ``zero`` is a line."""

    title: str
    rows: tuple[Dot, ...]
    ticks: tuple[Tick, ...]
    axis: str
    zero: float | None = None
    band: Point | None = None


@dataclass(frozen=True)
class Line:
    """A curve: ``path`` in SVG's words on a 100 x 100 canvas, ``dots`` where single points are marked.

    ``band`` is the outline of the interval around it, ``whiskers`` (place, low end, high end) are those of
    single points.
    """

    name: str
    path: str
    dots: tuple[Point, ...] = ()
    tone: str = "accent"
    band: str = ""
    whiskers: tuple[tuple[float, float, float], ...] = ()


@dataclass(frozen=True)
class Mark:
    """A point that stands for one thing: its place in percent from the top left, and what is said of it.

    ``label`` is written ``dx`` and ``dy`` pixels away; a ``leader`` line joins them where that is far.
    """

    at: Point
    said: str
    label: str = ""
    dx: float = 0.0
    dy: float = 0.0
    anchor: str = "start"
    leader: bool = False
    tone: str = "accent"
    hollow: bool = False
    strong: bool = False


@dataclass(frozen=True)
class Plane:
    """Curves or points over two axes; ``mark`` is one point that is pointed out, with its caption."""

    title: str
    across: str
    up: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...] = ()
    cloud: str = ""
    guide: str = ""
    mark: Point | None = None
    caption: str = ""
    marks: tuple[Mark, ...] = ()
    square: bool = False


def bars(
    rows: Sequence[tuple[str, float, str]], *, whole: float | None = None, tone: str = "accent"
) -> tuple[Bar, ...]:
    """Bars of (label, value, text); the longest, or ``whole``, fills the width."""
    longest = whole or max((value for _, value, _ in rows), default=0.0) or 1.0
    return tuple(
        Bar(label, text, round(100 * min(1.0, max(0.0, value / longest)), 2), tone)
        for label, value, text in rows
    )


def path(points: Sequence[Point], x: Scale, y: Scale) -> str:
    """A polyline through the points, on a 100 x 100 canvas whose origin is at the top left."""
    places = [f"{x.at(a):g} {100 - y.at(b):g}" for a, b in points]
    return "M" + "L".join(places) if places else ""


def band(lower: Sequence[Point], upper: Sequence[Point], x: Scale, y: Scale) -> str:
    """The outline of what lies between two polylines over the same places."""
    around = path([*lower, *reversed(upper)], x, y)
    return f"{around}Z" if around else ""


def cloud(points: Sequence[Point], x: Scale, y: Scale) -> str:
    """Dots at the points, as one path: strokes of no length, whose round caps are the dots."""
    return "".join(f"M{x.at(a):g} {100 - y.at(b):g}h0" for a, b in points)


def places(points: Sequence[Point], x: Scale, y: Scale) -> tuple[Point, ...]:
    """The points on the canvas, in percent from the top left."""
    return tuple((x.at(a), round(100 - y.at(b), 2)) for a, b in points)


def thinned(points: Sequence[Point], most: int = 400) -> list[Point]:
    """At most about ``most`` points along a curve: neighbours are averaged, the last is kept as it is."""
    if len(points) <= most:
        return list(points)
    width = -(-len(points) // most)
    groups = [points[start : start + width] for start in range(0, len(points), width)]
    means = [
        (sum(a for a, _ in group) / len(group), sum(b for _, b in group) / len(group)) for group in groups
    ]
    return [*means, points[-1]]


def sampled(points: Sequence[Point], most: int = 1500) -> list[Point]:
    """At most ``most`` of the points, evenly spread over their order."""
    if len(points) <= most:
        return list(points)
    return [points[index * len(points) // most] for index in range(most)]
