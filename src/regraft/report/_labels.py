"""Where names stand beside the points of a scatter, so that they cover neither each other nor a point.

Places along a plot are in percent and letters in pixels: names that are free of each other on a telephone
may not be on a desk. A place is taken only where it is free at every width of ``WIDTHS``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from regraft.report._charts import Point

WIDTHS = (250, 330, 460, 640, 900, 1100)
"""Of a plot, in pixels."""
HEIGHT = 300
_LETTER, _LINE = 7.3, 16.0
_RADIUS = 8.0


@dataclass(frozen=True)
class Place:
    """A label's offset in pixels from its point, and which of its ends stands there."""

    dx: float
    dy: float
    anchor: str

    @property
    def far(self) -> bool:
        """Whether a line should join label and point."""
        return abs(self.dy) > 21


_NEAR = (Place(12, 4.5, "start"), Place(-12, 4.5, "end"), Place(0, -13, "middle"), Place(0, 22, "middle"))
_RINGS = tuple(
    Place(side * 14, down * away + 4.5, "start" if side > 0 else "end")
    for away in (20, 36, 54)
    for down in (-1, 1)
    for side in (1, -1)
)
_SHIFTED = tuple(
    Place(side, down * away + 4.5, "middle")
    for away in (20, 36)
    for side in (45, -45, 85, -85)
    for down in (-1, 1)
)
_Box = tuple[float, float, float, float]


def places_for(points: Sequence[Point], names: Sequence[str], *, sure: int = 0) -> list[Place | None]:
    """A free place for each name, first come first served; None where there is none, or the name is empty.

    ``points`` are in percent from the top left; the first ``sure`` names may cover points where they must.
    """
    taken: list[list[_Box]] = [[_around(point, width) for point in points] for width in WIDTHS]
    found: list[Place | None] = []
    for at, (point, name) in enumerate(zip(points, names, strict=True)):
        place = _free(point, name, taken, at) if name else None
        if place is None and name and at < sure:
            place = _free(point, name, [boxes[len(points) :] for boxes in taken], -1)
        found.append(place)
        if place is not None:
            for boxes, width in zip(taken, WIDTHS, strict=True):
                boxes.append(_box(point, name, place, width))
    return found


def _free(point: Point, name: str, taken: list[list[_Box]], own: int) -> Place | None:
    for place in (*_NEAR, *_RINGS, *_SHIFTED):
        boxes = [_box(point, name, place, width) for width in WIDTHS]
        if all(
            _inside(box, width) and not any(_meet(box, other) for at, other in enumerate(others) if at != own)
            for box, width, others in zip(boxes, WIDTHS, taken, strict=True)
        ):
            return place
    return None


def _around(point: Point, width: int) -> _Box:
    x, y = point[0] * width / 100, point[1] * HEIGHT / 100
    return x - _RADIUS, y - _RADIUS, x + _RADIUS, y + _RADIUS


def _box(point: Point, name: str, place: Place, width: int) -> _Box:
    long = len(name) * _LETTER
    start = {"start": 0.0, "end": -long, "middle": -long / 2}[place.anchor]
    left = point[0] * width / 100 + place.dx + start
    base = point[1] * HEIGHT / 100 + place.dy
    return left, base - 0.75 * _LINE, left + long, base + 0.25 * _LINE


def _inside(box: _Box, width: int) -> bool:
    return box[0] >= 0 and box[2] <= width and box[1] >= -6 and box[3] <= HEIGHT - 3


def _meet(one: _Box, other: _Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
