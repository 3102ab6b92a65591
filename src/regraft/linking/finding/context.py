"""How alike the surroundings of two units are: hashes of their neighbourhoods, upstream and down.

The hashes are those of Weisfeiler and Lehman (1968): of a unit's own shape at radius 0, and at radius r of
that and the hashes of its neighbours at radius r - 1. Equal hashes, equal surroundings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from regraft.linking.finding.unit import Unit

RADII = (1, 2, 3, 5, 8)
_ALL = "all"


def surroundings(targets: Sequence[Unit], sources: Sequence[Unit]) -> np.ndarray:
    """The share of neighbourhoods, of growing radius, upstream and downstream, that are equal for each pair.

    ``float (targets, sources)``; 1 where everything before and everything after is equal.
    """
    names: dict[Any, int] = {}
    left, right = _hashes(targets, names), _hashes(sources, names)
    total = np.zeros((len(targets), len(sources)))
    for one, other in zip(left, right, strict=True):
        total += one[:, None] == other[None, :]
    return total / len(left)


def exact(targets: Sequence[Unit], sources: Sequence[Unit]) -> np.ndarray:
    """Pairs whose whole surroundings are equal, ``bool (targets, sources)``."""
    names: dict[Any, int] = {}
    left, right = _hashes(targets, names, radii=()), _hashes(sources, names, radii=())
    same = [one[:, None] == other[None, :] for one, other in zip(left, right, strict=True)]
    return np.logical_and(*same)


def _hashes(units: Sequence[Unit], names: dict[Any, int], radii: tuple[int, ...] = RADII) -> list[np.ndarray]:
    """For each direction and radius a number for every unit; equal numbers, equal neighbourhoods."""

    def number(key: Any) -> int:
        return names.setdefault(key, len(names))

    own = [number(("own", _label(unit))) for unit in units]
    made: list[np.ndarray] = []
    for direction in ("before", "after"):
        near = [getattr(unit, direction) for unit in units]
        current = list(own)
        for radius in range(1, max(radii, default=0) + 1):
            current = [
                number((direction, own[place], tuple(sorted({current[other] for other in near[place]}))))
                for place in range(len(units))
            ]
            if radius in radii:
                made.append(np.array(current))
        made.append(np.array(_whole(units, own, near, direction, number)))
    return made


def _whole(
    units: Sequence[Unit], own: Sequence[int], near: Sequence[tuple[int, ...]], direction: str, number: Any
) -> list[int]:
    """Of everything upstream, or downstream: one pass in execution order, or against it."""
    order = sorted(range(len(units)), key=lambda place: units[place].place)
    full = [0] * len(units)
    for place in order if direction == "before" else reversed(order):
        around = tuple(sorted({full[other] for other in near[place]}))
        full[place] = number((direction, _ALL, own[place], around))
    return full


def _label(unit: Unit) -> tuple[Any, ...]:
    """A unit's own look, the same for a linear layer and a 1x1 convolution."""
    kind = unit.kind.partition(":")[0]
    kind = {"linear": "dense", "conv": "dense", "group_norm": "norm", "layer_norm": "norm"}.get(kind, kind)
    shape = unit.shapes.get("weight", next(iter(unit.shapes.values()), ()))
    if kind == "dense" and unit.orientation == "io" and len(shape) == 2:
        shape = shape[::-1]
    if kind == "dense" and math.prod(shape[2:]) == 1:
        shape = shape[:2]
    if kind == "table":
        shape = tuple(length for length in shape if length > 1)
    return (kind, shape, unit.part)
