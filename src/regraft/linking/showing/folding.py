"""Folding: rows that differ only in the numbers or in the last part of their names, as one line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from regraft.linking.row import Row

_NUMBER = re.compile(r"(?:(?<=layer)|(?<=stage)|(?<=block)|(?<=[._])|(?<![^.]))\d+(?=\.|$)")
_TRUNK = "trunk.network."

Numbers = tuple[int, ...]
Key = TypeVar("Key")


@dataclass(frozen=True)
class Line:
    """Rows that are told in one line.

    Attributes
    ----------
    target, source
        Patterns, ``layers.{0..3}.blocks.{0..1}.norm1.{weight,bias}``; ``source`` is empty for fresh rows.
    count
        How many rows.
    action, reason
        Of every one of them.
    confidence
        The least of theirs.
    alternatives
        What else the first of them could have been.
    conflict
        Whether a source tensor has the name and does not fit.
    parameters
        How many numbers they hold.
    """

    target: str
    source: str
    count: int
    action: str
    reason: str
    confidence: float
    alternatives: tuple[str, ...]
    conflict: bool
    parameters: int


@dataclass
class _Group:
    """Rows of one pattern: by their last name parts and numbers."""

    leaves: dict[tuple[str, str], dict[Numbers, tuple[Numbers, Row]]] = field(default_factory=dict)


def fold_rows(rows: Sequence[Row]) -> list[Line]:
    """Rows in as few lines as tell them without loss, in the order of their first rows."""
    groups: dict[tuple[object, ...], _Group] = {}
    for row in rows:
        target, numbers, leaf = _split(row.target.removeprefix(_TRUNK))
        source, places, other = _split(merge_names(named_sources(row)))
        key = (target, source, row.action, _generic(reason_of(row)), bool(row.alternatives), row.conflict)
        leaves = groups.setdefault(key, _Group()).leaves
        leaves.setdefault((leaf, other), {})[numbers] = (places, row)
    return [
        line
        for (target, source, *_), group in groups.items()
        for line in _lines(str(target), str(source), group)
    ]


def whole_rows(rows: Sequence[Row]) -> list[Line]:
    """A line for each row."""
    return [_told(row.target.removeprefix(_TRUNK), merge_names(named_sources(row)), [row]) for row in rows]


def named_sources(row: Row) -> tuple[str, ...]:
    """What a row takes; the tensor that does not fit, for one that conflicts."""
    return row.sources or ((row.source,) if row.source else ())


def reason_of(row: Row) -> str:
    """What happens to the source tensor and what found it, in words."""
    return f"{row.transform}; {row.rule}" if row.transform else row.rule


def fold_names(names: Iterable[str]) -> list[tuple[str, list[str]]]:
    """Names as patterns, each with the names that it stands for."""
    groups: dict[str, dict[str, dict[Numbers, str]]] = {}
    for name in names:
        stem, numbers, leaf = _split(name)
        groups.setdefault(stem, {}).setdefault(leaf, {})[numbers] = name
    found = []
    for stem, leaves in groups.items():
        for kept, products in _alike({leaf: frozenset(members) for leaf, members in leaves.items()}):
            for product in products:
                members = [leaves[leaf][number] for leaf in kept for number in _expand(product)]
                found.append((_joined(_fill(stem, product), _brace(kept)), members))
    return found


def _lines(target: str, source: str, group: _Group) -> list[Line]:
    lines = []
    numbers = {pair: frozenset(members) for pair, members in group.leaves.items()}
    for pairs, products in _alike(numbers):
        for product in products:
            chosen = [group.leaves[pair][number] for pair in pairs for number in _expand(product)]
            ours = _joined(_fill(target, product), _brace([leaf for leaf, _ in pairs]))
            spread = [frozenset(column) for column in zip(*(places for places, _ in chosen), strict=True)]
            theirs = _joined(_fill(source, tuple(spread)), _brace([other for _, other in pairs]))
            lines.append(_told(ours, theirs, [row for _, row in chosen]))
    return lines


def _told(target: str, source: str, rows: list[Row]) -> Line:
    first = rows[0]
    reasons = list(dict.fromkeys(reason_of(row) for row in rows))
    return Line(
        target=target,
        source=source,
        count=len(rows),
        action=first.action,
        reason=reasons[0] if len(reasons) == 1 else f"{reasons[0]}, ..",
        confidence=min(row.confidence for row in rows),
        alternatives=first.alternatives,
        conflict=first.conflict,
        parameters=sum(row.size for row in rows),
    )


def _alike(
    members: dict[Key, frozenset[Numbers]],
) -> list[tuple[list[Key], list[tuple[frozenset[int], ...]]]]:
    """Those with the same numbers together, and their numbers as products of sets."""
    groups: dict[frozenset[Numbers], list[Key]] = {}
    for key, numbers in members.items():
        groups.setdefault(numbers, []).append(key)
    return [(keys, _products(numbers)) for numbers, keys in groups.items()]


def _products(numbers: frozenset[Numbers]) -> list[tuple[frozenset[int], ...]]:
    """Tuples as products of sets of numbers: which ``{0..3}.{0..1}`` they are, no more and no fewer."""
    if () in numbers:
        return [()]
    rests: dict[int, set[Numbers]] = {}
    for first, *rest in sorted(numbers):
        rests.setdefault(first, set()).add(tuple(rest))
    alike: dict[frozenset[Numbers], set[int]] = {}
    for first, rest_of in rests.items():
        alike.setdefault(frozenset(rest_of), set()).add(first)
    return [(frozenset(firsts), *tail) for rest_of, firsts in alike.items() for tail in _products(rest_of)]


def _expand(product: tuple[frozenset[int], ...]) -> list[Numbers]:
    expanded: list[Numbers] = [()]
    for choices in product:
        expanded = [(*before, number) for before in expanded for number in sorted(choices)]
    return expanded


def _split(name: str) -> tuple[str, Numbers, str]:
    """A name's module with its numbers replaced by ``{}``, the numbers, and its last part."""
    module, _, leaf = name.rpartition(".")
    numbers = tuple(int(found) for found in _NUMBER.findall(module))
    return _NUMBER.sub("{}", module), numbers, leaf


def _generic(reason: str) -> str:
    """A reason without what names a single layer: ``tied to layers.3.weight``."""
    return _NUMBER.sub("{}", reason)


def _fill(stem: str, product: Sequence[Iterable[int]]) -> str:
    text = stem
    for choices in product:
        chosen = sorted(choices)
        said = str(chosen[0]) if len(chosen) == 1 else f"\x00{ranges(chosen)}\x01"
        text = text.replace("{}", said, 1)
    return text.replace("\x00", "{").replace("\x01", "}")


def _brace(leaves: Sequence[str]) -> str:
    kept = list(dict.fromkeys(leaves))
    if len(kept) == 1:
        return kept[0]
    return "{" + ",".join(kept) + "}" if len(kept) <= 4 else "*"


def _joined(module: str, leaf: str) -> str:
    return f"{module}.{leaf}" if module else leaf


def merge_names(names: Sequence[str]) -> str:
    """Several names as one: ``self.{query,key,value}.weight``; the first and a count where that is not so."""
    if len(names) < 2:
        return names[0] if names else ""
    parts = [name.split(".") for name in names]
    if len({len(one) for one in parts}) == 1:
        columns = [list(dict.fromkeys(column)) for column in zip(*parts, strict=True)]
        if sum(len(column) > 1 for column in columns) == 1:
            return ".".join(
                column[0] if len(column) == 1 else "{" + ",".join(column) + "}" for column in columns
            )
    return f"{names[0]} +{len(names) - 1}"


def ranges(numbers: Iterable[int]) -> str:
    """``0..3,7`` for 0, 1, 2, 3, 7."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ",".join(str(part[0]) if len(part) == 1 else f"{part[0]}..{part[-1]}" for part in parts)
