"""A link's rows as text: equal ones folded, 80 columns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from regraft.linking.row import Row

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)")


@dataclass(frozen=True)
class _Line:
    target: str
    action: str
    count: int
    reason: str


def format_rows(rows: Sequence[Row], *, width: int = 80) -> list[str]:
    """One line for rows that differ only in a layer's number or in the last part of their name."""
    lines = _fold(rows)
    room = max(20, width - 8 - 4 - 25 - 3)
    header = f"{'tensors':<{room}} {'n':>4} {'action':<8} reason"
    return [header, "-" * width, *(_format(line, room, width) for line in lines)]


def _format(line: _Line, room: int, width: int) -> str:
    tail = f" {line.count:>4} {line.action:<8} "
    space = width - room - len(tail)
    return f"{_shorten(line.target, room):<{room}}{tail}{_shorten(line.reason, space)}".rstrip()


def _shorten(text: str, room: int) -> str:
    """Cut in the middle: both ends of a name say something."""
    if len(text) <= room:
        return text
    head = (room - 2) // 2
    return f"{text[:head]}..{text[len(text) - (room - 2 - head) :]}"


def _fold(rows: Sequence[Row]) -> list[_Line]:
    groups: dict[tuple[str, str, str], dict[str, set[int]]] = {}
    counts: dict[tuple[str, str, str], int] = {}
    for row in rows:
        module, _, leaf = row.target.removeprefix("trunk.network.").rpartition(".")
        pattern, number = _template(module)
        key = (pattern, row.action, _reason(row))
        leaves = groups.setdefault(key, {})
        leaves.setdefault(leaf, set()).add(number)
        counts[key] = counts.get(key, 0) + 1
    return [_line(key, leaves, counts[key]) for key, leaves in groups.items()]


def _line(key: tuple[str, str, str], leaves: dict[str, set[int]], count: int) -> _Line:
    pattern, action, reason = key
    numbers = set.union(*leaves.values())
    module = pattern.replace("{}", f"{{{ranges(numbers)}}}") if "{}" in pattern else pattern
    leaf = (
        next(iter(leaves)) if len(leaves) == 1 else "{" + ",".join(leaves) + "}" if len(leaves) == 2 else "*"
    )
    return _Line(f"{module}.{leaf}" if module else leaf, action, count, reason)


def _template(module: str) -> tuple[str, int]:
    """The name with its first number replaced by ``{}``, and that number."""
    match = _NUMBER.search(module)
    if not match:
        return module, -1
    return module[: match.start()] + "{}" + module[match.end() :], int(match.group())


def _reason(row: Row) -> str:
    words = row.transform or row.rule
    return f"{words} (conflict)" if row.conflict else words


def ranges(numbers: Iterable[int]) -> str:
    """``0..3,7`` for 0, 1, 2, 3, 7."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ",".join(str(part[0]) if len(part) == 1 else f"{part[0]}..{part[-1]}" for part in parts)
