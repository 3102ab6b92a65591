"""Two networks side by side: blocks as boxes, and the links between them as curves."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from regraft.report._words import count, counted, shortened

STEP = 62  # pixels from one block to the next
_BOX = 54
_NUMBER = re.compile(r"\d+")
_SHORT = 18  # a side with so many blocks is shown block by block
_MOST = 48  # after folding; what lies behind is counted
_ACTIONS = ("copied", "adapted", "fresh")
_MOST_ROWS = 8  # told of one block when it is pointed at

Json = dict[str, Any]
Partners = Callable[[int], frozenset[tuple[Any, ...]]]


@dataclass(frozen=True)
class Box:
    """A block, or several alike: ``parts`` are (tone, share of its tensors)."""

    name: str
    state: str
    size: str
    parts: tuple[tuple[str, float], ...]
    rows: tuple[tuple[str, str, str], ...]
    untold: int


@dataclass(frozen=True)
class Curve:
    """A link between two boxes: its path on a canvas of 100 by the picture's height."""

    path: str
    tone: str
    said: str
    width: float


@dataclass(frozen=True)
class Picture:
    """Both sides from the stem on, the curves between them, and how many blocks did not fit."""

    source: tuple[Box, ...]
    target: tuple[Box, ...]
    curves: tuple[Curve, ...]
    height: int
    folded: bool
    untold: int


@dataclass(frozen=True)
class _Group:
    """Blocks told in one box, by their places on their side."""

    places: tuple[int, ...]
    blocks: tuple[Json, ...]

    def sum(self, key: str) -> int:
        return sum(int(block[key]) for block in self.blocks)


def picture_of(link: Json) -> Picture | None:
    """The picture of a link, or None where its JSON does not hold the blocks of both sides."""
    outline = link.get("outline")
    if not isinstance(outline, dict):
        return None
    try:
        return _draw(outline, link)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        return None  # written by another version, or by hand: the rest of the page does without it


def _draw(outline: Json, link: Json) -> Picture | None:
    sides, joins = {side: list(outline[side]) for side in ("source", "target")}, list(outline["links"])
    if not sides["source"] or not sides["target"]:
        return None
    long = max(map(len, sides.values())) > _SHORT
    towards = _partners(joins, "source", sides["target"], _ACTIONS)
    source = _fold(sides["source"], towards, ("unused",), long)
    back = _partners(joins, "target", sides["source"], ("unused",))
    target = _fold(sides["target"], back, _ACTIONS, long)
    shown = {"source": source[:_MOST], "target": target[:_MOST]}
    return Picture(
        source=tuple(_source_box(group, link) for group in shown["source"]),
        target=tuple(_target_box(group, link) for group in shown["target"]),
        curves=tuple(_curves(shown["source"], shown["target"], joins)),
        height=max(map(len, shown.values())) * STEP,
        folded=len(source) < len(sides["source"]) or len(target) < len(sides["target"]),
        untold=sum(len(group.blocks) for groups in (source, target) for group in groups[_MOST:]),
    )


def _partners(joins: Sequence[Json], side: str, others: Sequence[Json], counts: tuple[str, ...]) -> Partners:
    """Which kinds of blocks a block is linked to, and what became of them."""
    other = "target" if side == "source" else "source"
    found: dict[int, set[tuple[Any, ...]]] = {}
    for join in joins:
        block = others[join[other]]
        kind = (_kind(block["block"]), *(block[key] for key in counts))
        found.setdefault(join[side], set()).add(kind)
    return lambda place: frozenset(found.get(place, ()))


def _fold(
    blocks: Sequence[Json],
    partners: Callable[[int], frozenset[tuple[Any, ...]]],
    counts: tuple[str, ...],
    long: bool,
) -> list[_Group]:
    """Neighbours that are alike in one; exactly alike first, and in kind where there are still too many."""
    exact = _runs(blocks, lambda place, block: (place,))
    if long:
        exact = _runs(
            blocks,
            lambda place, block: (
                _kind(block["block"]),
                partners(place),
                *(block[key] for key in (*counts, "tensors")),
            ),
        )
    if len(exact) <= _MOST // 2 or not long:
        return exact
    return _runs(
        blocks,
        lambda place, block: (_kind(block["block"]), *(block[key] > 0 for key in counts)),
    )


def _runs(blocks: Sequence[Json], key: Callable[[int, Json], tuple[Any, ...]]) -> list[_Group]:
    runs: list[tuple[Any, list[int]]] = []
    for place, block in enumerate(blocks):
        mark = key(place, block)
        if runs and runs[-1][0] == mark:
            runs[-1][1].append(place)
        else:
            runs.append((mark, [place]))
    return [_Group(tuple(places), tuple(blocks[place] for place in places)) for _, places in runs]


def _kind(name: Any) -> str:
    return _NUMBER.sub("#", str(name))


def _name(group: _Group) -> str:
    """The blocks' name, with the range of each number that differs: ``blocks.{0…11}``."""
    names = [str(block["block"]) for block in group.blocks]
    rests = _NUMBER.split(names[0])
    columns = zip(*([int(found) for found in _NUMBER.findall(name)] for name in names), strict=True)
    text = rests[0]
    for values, rest in zip(columns, rests[1:], strict=True):
        low, high = min(values), max(values)
        text += (str(low) if low == high else f"{{{low}…{high}}}") + rest
    return shortened(text, 80)


def _own(name: Any) -> str:
    """A target tensor's name in its own network."""
    return str(name).removeprefix("trunk.network.")


def _source_box(group: _Group, link: Json) -> Box:
    tensors, unused = group.sum("tensors"), group.sum("unused")
    used = tensors - unused
    state = "unused" if not used else "used" if not unused else f"{unused:,} of {tensors:,} unused"
    names = [link["unused"][place] for block in group.blocks for place in block["unused_names"]]
    rows = [
        (str(row.get("source") or ""), str(row["action"]), f"to {_own(row['target'])}")
        for row in _rows(group, link)
    ]
    rows += [(str(name), "unused", "") for name in names]
    return _box(group, state, (("copied", used), ("unused", unused)), rows)


def _target_box(group: _Group, link: Json) -> Box:
    numbers = {action: group.sum(action) for action in _ACTIONS}
    present = [(action, number) for action, number in numbers.items() if number]
    state = (
        present[0][0]
        if len(present) == 1
        else ", ".join(f"{number:,} {action}" for action, number in present)
    )
    rows = [
        (
            _own(row["target"]),
            str(row["action"]),
            f"from {row['source']}"
            if row.get("source") and row["action"] != "fresh"
            else str(row.get("rule") or ""),
        )
        for row in _rows(group, link)
    ]
    return _box(group, state, tuple(numbers.items()), rows)


def _rows(group: _Group, link: Json) -> list[Json]:
    return [link["rows"][place] for block in group.blocks for place in block["rows"]]


def _box(
    group: _Group, state: str, numbers: Sequence[tuple[str, int]], rows: Sequence[tuple[str, str, str]]
) -> Box:
    whole = sum(number for _, number in numbers) or 1
    tensors = counted(group.sum("tensors"), "tensor")
    return Box(
        name=_name(group),
        state=state,
        size=f"{tensors}, {short_count(group.sum('parameters'))}",
        parts=tuple((tone, round(100 * number / whole, 2)) for tone, number in numbers if number),
        rows=tuple((shortened(a, 90), b, shortened(c, 110)) for a, b, c in rows[:_MOST_ROWS]),
        untold=max(0, len(rows) - _MOST_ROWS),
    )


def _curves(source: Sequence[_Group], target: Sequence[_Group], joins: Sequence[Json]) -> list[Curve]:
    home = {place: index for index, group in enumerate(source) for place in group.places}
    goal = {place: index for index, group in enumerate(target) for place in group.places}
    sums: dict[tuple[int, int], Counter[str]] = {}
    for join in joins:
        if join["source"] in home and join["target"] in goal:
            pair = (home[join["source"]], goal[join["target"]])
            sums.setdefault(pair, Counter()).update({key: int(join[key]) for key in ("copied", "adapted")})
    return [_curve(pair, numbers, source, target) for pair, numbers in sorted(sums.items())]


def _curve(
    pair: tuple[int, int], numbers: Counter[str], source: Sequence[_Group], target: Sequence[_Group]
) -> Curve:
    start, end = (index * STEP + _BOX / 2 for index in pair)
    told = ", ".join(f"{number:,} {action}" for action, number in numbers.items() if number)
    return Curve(
        path=f"M0 {start:g}C50 {start:g} 50 {end:g} 100 {end:g}",
        tone="adapted" if numbers["adapted"] else "copied",
        said=f"{_name(source[pair[0]])} to {_name(target[pair[1]])}: {told}",
        width=round(min(7.0, 1.5 + 0.25 * sum(numbers.values())), 2),
    )


def short_count(number: int) -> str:
    """``7.09 M`` for 7,087,872."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return count(number)
