"""Assigning source units to target units, all at once, by shape, surroundings, names and order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from regraft.linking.finding.context import exact, surroundings
from regraft.linking.finding.fit import Fit, fit_units, quality
from regraft.linking.finding.likeness import likeness
from regraft.linking.finding.unit import Unit

_THRESHOLD = 0.5
_CLOSE = 0.02  # scores that near to the best one are alternatives
_GAP = 0.05


@dataclass(frozen=True)
class Pair:
    """A source unit found for a target unit.

    Attributes
    ----------
    rule
        What found it.
    confidence
        Between 0 and 1.
    alternatives
        Source units that fit as well and score nearly as high.
    fits
        For each role of the target the source's role and how it fits.
    """

    target: Unit
    source: Unit
    rule: str
    confidence: float
    fits: dict[str, tuple[str, Fit]]
    alternatives: tuple[Unit, ...] = ()


def assign(
    targets: Sequence[Unit],
    sources: Sequence[Unit],
    *,
    layout: str = "torch",
    grids: bool = True,
    agreed: Mapping[str, str] | None = None,
) -> list[Pair]:
    """At most one source unit for each target unit, so that all of them together are most alike.

    Each pair is scored by how well the tensors fit, times what speaks for it: equal surroundings in both
    traced graphs, alike names, like place in the order. The assignment with the largest sum is found at once
    (Hungarian method), after a monotone alignment (Needleman and Wunsch, 1970) has said where layers were
    added or left out. Pairs that too little speaks for are left open.

    ``agreed`` are target and source tensors whose names agree.
    """
    from scipy.optimize import linear_sum_assignment

    if not targets or not sources:
        return []
    agreed = agreed or {}
    table = _fit_table(targets, sources, layout, grids)
    table *= _both_seen(targets, sources, agreed, table)
    if not table.any():
        return []
    evidence, parts = _evidence(targets, sources, table, agreed)
    scores = table * evidence
    rows, columns = linear_sum_assignment(-scores)
    chosen = [(row, column) for row, column in zip(rows, columns, strict=True) if scores[row, column] > 0]
    pairs = []
    for row, column in chosen:
        if evidence[row, column] < _THRESHOLD:
            continue
        fits = fit_units(targets[row], sources[column], layout=layout, grids=grids)
        assert fits is not None
        rule, sure = _reason(parts, row, column, targets[row], sources[column])
        near = _alternatives(scores, table, parts.exact, row, column)
        pairs.append(
            Pair(
                targets[row],
                sources[column],
                rule,
                sure * table[row, column] ** 0.5 / (1 + 0.1 * len(near)),
                fits,
                tuple(sources[other] for other in near),
            )
        )
    return pairs


def _fit_table(targets: Sequence[Unit], sources: Sequence[Unit], layout: str, grids: bool) -> np.ndarray:
    """How well every pair fits; units that look alike are looked at once.

    Whether a table holds positions is read from its name, so tables are looked at one by one.
    """
    known: dict[tuple[int, int], float] = {}
    numbers: dict[object, int] = {}
    table = np.zeros((len(targets), len(sources)))
    ours = [numbers.setdefault(unit.signature, len(numbers)) for unit in targets]
    theirs = [numbers.setdefault(unit.signature, len(numbers)) for unit in sources]
    for row, target in enumerate(targets):
        for column, source in enumerate(sources):
            key = (ours[row], theirs[column])
            if key not in known or _by_name(target, source):
                fits = fit_units(target, source, layout=layout, grids=grids)
                known[key] = quality(fits, target, source)
            table[row, column] = known[key]
    return table


def _both_seen(
    targets: Sequence[Unit], sources: Sequence[Unit], agreed: Mapping[str, str], table: np.ndarray
) -> np.ndarray:
    """What one traced network uses is not what the other leaves alone.

    Names may say so all the same where nothing that the other uses fits: not where it holds a second copy.
    """
    ours, theirs = [np.array([unit.traced for unit in units]) for units in (targets, sources)]
    if not (ours.any() and theirs.any()):
        return np.ones((len(targets), len(sources)), dtype=bool)
    same = ours[:, None] == theirs[None, :]
    helpless = ~((table > 0) & same).any(axis=1)
    return same | ((_agreement(targets, sources, agreed) > 0) & helpless[:, None])


def _by_name(target: Unit, source: Unit) -> bool:
    return target.kind.startswith("table") or source.kind.startswith("table")


@dataclass(frozen=True)
class _Parts:
    names: np.ndarray
    around: np.ndarray
    exact: np.ndarray
    order: np.ndarray
    aligned: np.ndarray


def _evidence(
    targets: Sequence[Unit], sources: Sequence[Unit], table: np.ndarray, agreed: Mapping[str, str]
) -> tuple[np.ndarray, _Parts]:
    names = likeness([unit.name for unit in targets], [unit.name for unit in sources])
    names = np.maximum(names, _agreement(targets, sources, agreed))
    traced = np.outer([unit.traced for unit in targets], [unit.traced for unit in sources])
    around = surroundings(targets, sources) * traced
    same = exact(targets, sources) & traced
    order = _order(targets, sources)
    counts = _equal_counts(targets, sources)
    structural = 0.15 + counts + 0.35 * around + 0.2 * names + 0.2 * order
    named = 0.15 + counts + 0.4 * names + 0.35 * order
    evidence = np.where(traced, structural, named)
    evidence = np.maximum(evidence, 0.8 * (names == 1.0) + 0.2 * evidence)
    aligned = _align(table * evidence)
    return np.minimum(1.0, evidence + 0.15 * aligned), _Parts(names, around, same, order, aligned)


def _agreement(targets: Sequence[Unit], sources: Sequence[Unit], agreed: Mapping[str, str]) -> np.ndarray:
    """1 for pairs whose tensors' names agree."""
    owners = {name: place for place, unit in enumerate(sources) for name in unit.tensors.values()}
    table = np.zeros((len(targets), len(sources)))
    for row, unit in enumerate(targets):
        for name in unit.tensors.values():
            if agreed.get(name) in owners:
                table[row, owners[agreed[name]]] = 1.0
    return table


def _order(targets: Sequence[Unit], sources: Sequence[Unit]) -> np.ndarray:
    """How near two units stand in their networks, from the input or from the output, whichever is nearer."""

    def near(one: Sequence[int], other: Sequence[int]) -> np.ndarray:
        left, right = np.array(one, dtype=float), np.array(other, dtype=float)
        span = max(left.max(), right.max(), 1.0)
        return 1 - np.minimum(1.0, np.abs(left[:, None] - right[None, :]) / span * 4)

    if all(unit.traced for unit in targets) and all(unit.traced for unit in sources):
        ahead = near([unit.depth for unit in targets], [unit.depth for unit in sources])
        behind = near([unit.height for unit in targets], [unit.height for unit in sources])
        return np.maximum(ahead, behind) * 0.7 + np.minimum(ahead, behind) * 0.3
    ahead = near(range(len(targets)), range(len(sources)))
    behind = near(range(len(targets))[::-1], range(len(sources))[::-1])
    return np.maximum(ahead, behind) * 0.7 + np.minimum(ahead, behind) * 0.3


def _equal_counts(targets: Sequence[Unit], sources: Sequence[Unit]) -> np.ndarray:
    """What numbers of look-alikes say: some where both sides have as many, more where each has only one.

    A norm or a bias of its own width says little; a matrix or a kernel of its own shape says much.
    """
    ours, theirs = [_look(unit) for unit in targets], [_look(unit) for unit in sources]
    left, right = Counter(ours), Counter(theirs)
    worth = {look: _worth(look, count) for look, count in left.items() if right.get(look) == count}
    return np.array([[worth[look] if look == other else 0.0 for other in theirs] if look in worth
                     else [0.0] * len(theirs) for look in ours])  # fmt: skip


_Look = tuple[tuple[str, tuple[int, ...]], ...]


def _look(unit: Unit) -> _Look:
    return tuple(sorted(unit.shapes.items()))


def _worth(look: _Look, count: int) -> float:
    largest = max((len(shape) for _, shape in look), default=0)
    return 0.35 if count == 1 and largest >= 2 else 0.1


def _align(scores: np.ndarray) -> np.ndarray:
    """Pairs of the best alignment that keeps both orders, ``bool (targets, sources)``."""
    rows, columns = scores.shape
    best = np.zeros((rows + 1, columns + 1))
    best[:, 0] = -_GAP * np.arange(rows + 1)
    best[0, :] = -_GAP * np.arange(columns + 1)
    moves = np.zeros((rows + 1, columns + 1), dtype=np.int8)
    gaps = _GAP * np.arange(columns + 1)
    for row in range(1, rows + 1):
        match = np.where(scores[row - 1] > 0, best[row - 1, :-1] + scores[row - 1], -np.inf)
        skip = best[row - 1, 1:] - _GAP
        here = np.maximum(match, skip)
        # Gaps along the row: the running maximum of what is left after paying for each column.
        line = np.concatenate([[best[row, 0]], here]) + gaps
        best[row] = np.maximum.accumulate(line) - gaps
        moves[row, 1:] = np.where(best[row, 1:] > here, 2, np.where(match >= skip, 0, 1))
    pairs = np.zeros(scores.shape, dtype=bool)
    row, column = rows, columns
    while row > 0 and column > 0:
        move = moves[row, column]
        if move == 0:
            row, column = row - 1, column - 1
            pairs[row, column] = True
        elif move == 1:
            row -= 1
        else:
            column -= 1
    return pairs


def _reason(parts: _Parts, row: int, column: int, target: Unit, source: Unit) -> tuple[str, float]:
    if parts.names[row, column] == 1.0 and target.name == source.name:
        return "equal names", 1.0
    if parts.exact[row, column]:
        alike = max(int(parts.exact[row].sum()), int(parts.exact[:, column].sum()))
        return ("structure", 0.99) if alike == 1 else (f"structure, one of {alike} alike", 0.6)
    around, name = parts.around[row, column], parts.names[row, column]
    if target.traced and source.traced and around >= 0.3:
        return f"structure, {around:.0%} of the surroundings equal", 0.6 + 0.35 * float(around)
    if name >= 0.5:
        return "alike names", 0.5 + 0.4 * float(name)
    return "order and shape", 0.5 + 0.2 * float(parts.aligned[row, column])


def _alternatives(
    scores: np.ndarray, table: np.ndarray, same: np.ndarray, row: int, column: int
) -> list[int]:
    """Other sources that fit and score nearly as high, or stand in equal surroundings."""
    close = (scores[row] >= scores[row, column] - _CLOSE) | (same[row] & same[row, column])
    near = np.flatnonzero(close & (table[row] > 0))
    return [int(other) for other in near if other != column][:5]
