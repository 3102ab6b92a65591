"""A link's rows as text: equal ones folded, 80 columns or as many as there are."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from regraft.linking.row import Row
from regraft.linking.showing.folding import Line, fold_rows, ranges, whole_rows

__all__ = ["format_rows", "ranges"]

_WIDE = 120  # from here on the source has a column of its own
_LEAST = 56  # fewer columns than this are not looked at
_COLUMNS = 15  # what count and action take
_NAME = 20
_HOW = 16


def format_rows(rows: Sequence[Row], *, width: int = 80, folded: bool = True) -> list[str]:
    """One line for rows that differ only in a layer's number or in the last part of their name.

    Columns: target tensors, how many rows, action, source tensors, and how: transform, rule, confidence
    where it is less than 1, alternatives and conflicts. Below 120 columns a source whose name is not the
    target's stands on a line of its own. ``folded=False`` gives each row a line.
    """
    lines = fold_rows(rows) if folded else whole_rows(rows)
    width = max(_LEAST, width)
    return _wide(lines, width) if width >= _WIDE else _narrow(lines, width)


def _narrow(lines: Sequence[Line], width: int) -> list[str]:
    """Names, and below them what does not fit beside them."""
    longest = max((len(line.target) for line in lines), default=0)
    name = max(_NAME, min(longest, width - _COLUMNS - _HOW))
    how = width - name - _COLUMNS
    told = [f"{'target tensors':<{name}} {'n':>4} {'action':<7}  how", "-" * width]
    for line in lines:
        reason, long = how_of(line), len(line.target) > name
        if long:
            told.append(shorten(line.target, width))
        fits = len(reason) <= how
        told.append(
            f"{'' if long else line.target:<{name}} {line.count:>4} {line.action:<7}  "
            f"{reason if fits else ''}".rstrip()
        )
        if line.source and line.source != line.target:
            told.append(f"  {'x' if line.conflict else '<'} {shorten(line.source, width - 4)}")
        if not fits:
            told += _wrapped(reason, width)
    return told


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False)


def _wide(lines: Sequence[Line], width: int) -> list[str]:
    room = width - _COLUMNS - 2
    name = max(_NAME, min(max((len(line.target) for line in lines), default=0), room * 2 // 5))
    other = max(_NAME, min(max((len(line.source) for line in lines), default=0), room * 2 // 5))
    how = room - name - other
    told = [f"{'target tensors':<{name}} {'n':>4} {'action':<7}  {'source':<{other}}  how", "-" * width]
    for line in lines:
        reason, same = how_of(line), line.source == line.target
        source = "the same" if same else shorten(line.source, other)
        fits = len(reason) <= how
        told.append(
            f"{shorten(line.target, name):<{name}} {line.count:>4} {line.action:<7}  {source:<{other}}  "
            f"{reason if fits else ''}".rstrip()
        )
        if not fits:
            told += _wrapped(reason, width)
    return told


def how_of(line: Line) -> str:
    """Transform and rule, how sure they are, and what else the rows could have been."""
    words = [line.reason]
    if line.conflict:
        words.append("CONFLICT")
    if line.action != "fresh" and line.confidence < 1:
        words.append(f"{line.confidence:.2f} sure")
    if line.alternatives:
        count = len(line.alternatives)
        words.append(f"or {line.alternatives[0]}" + (f" +{count - 1}" if count > 1 else ""))
    return ", ".join(words)


def shorten(text: str, room: int) -> str:
    """Cut in the middle: both ends of a name say something."""
    if len(text) <= room:
        return text
    head = (room - 2) // 2
    return f"{text[:head]}..{text[len(text) - (room - 2 - head) :]}"
