"""Names beside points: at no width may one cover another, a point, or leave the plot."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from regraft.report._labels import HEIGHT, places_for

LETTER, LINE, RADIUS = 7.3, 16.0, 8.0


def boxes(points: list[tuple[float, float]], names: list[str], width: int) -> list[tuple[float, ...]]:
    """The rectangles of the names that have a place, computed anew."""
    found = []
    for (x, y), name, place in zip(points, names, places_for(points, names), strict=True):
        if place is not None:
            end = x / 100 * width + place.dx
            shift = {"start": 0.0, "middle": -0.5, "end": -1.0}[place.anchor] * LETTER * len(name)
            base = y / 100 * HEIGHT + place.dy
            found.append((end + shift, base - 12, end + shift + LETTER * len(name), base + 4))
    return found


def meet(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


@pytest.mark.parametrize("count", [1, 3, 12, 40])
@pytest.mark.parametrize("width", [250, 460, 900])
def test_names_cover_nothing(count: int, width: int) -> None:
    rng = np.random.default_rng(count)
    points = [(float(x), float(y)) for x, y in rng.uniform(5, 95, size=(count, 2))]
    names = ["a name of some length"[: int(rng.integers(4, 20))] for _ in points]
    found = boxes(points, names, width)
    assert len(found) >= min(count, 5)
    assert not any(meet(one, other) for one, other in itertools.combinations(found, 2))
    discs = [(x / 100 * width, y / 100 * HEIGHT) for x, y in points]
    for left, top, right, bottom in found:
        assert left >= 0
        assert right <= width
        covered = [
            (x, y)
            for x, y in discs
            if left < x + RADIUS - 0.01 and x - RADIUS + 0.01 < right and top < y + RADIUS - 0.01 < bottom
        ]
        assert covered == []


def test_who_comes_first_is_named() -> None:
    crowd = [(50.0, 50.0), *((5.0 * (at % 21), 20.0 + 5 * (at // 21)) for at in range(250))]
    names = ["a rather long name", "", *["another"] * 249]
    assert places_for(crowd, names)[0] is None
    found = places_for(crowd, names, sure=1)
    assert found[0] is not None
    assert found[1] is None  # nothing to write
    apart = places_for([(20.0, 50.0), (80.0, 50.0)], ["left", "right"])
    assert all(place is not None and not place.far for place in apart)
