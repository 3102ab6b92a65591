"""Numbers as a person reads them: percent, points, intervals, counts, durations, dates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeGuard

from regraft.core.console import duration

MISSING = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a JSON value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def numbers(values: Any) -> list[float]:
    """The finite numbers of a JSON list."""
    return [float(value) for value in values or [] if is_number(value)]


def figure(value: Any, *, percent: bool = False, decimals: int | None = None) -> str:
    """One figure: ``84.9%``, ``1.23``, ``12,345``; a dash where there is none."""
    if not is_number(value):
        return MISSING
    if percent:
        return f"{_fixed(100 * value, 1)}%"
    if decimals is None and value and (abs(value) >= 1e7 or abs(value) < 1e-4):
        return f"{value:.2e}".replace("-", MINUS)
    return _fixed(value, _decimals([value]) if decimals is None else decimals)


def interval(value: Any, low: Any, high: Any, *, percent: bool = False) -> str:
    """A figure with its interval: ``84.9% (83.5 to 86.2)``; the figure alone where there is none."""
    if not all(map(is_number, (value, low, high))):
        return figure(value, percent=percent)
    if percent:
        return f"{figure(value, percent=True)} ({_fixed(100 * low, 1)} to {_fixed(100 * high, 1)})"
    digits = _decimals([high - low]) if high > low else _decimals([value])
    shown = [figure(item, decimals=digits) for item in (value, low, high)]
    return f"{shown[0]} ({shown[1]} to {shown[2]})"


def difference(value: Any, low: Any = None, high: Any = None, *, percent: bool = False) -> str:
    """A difference with its sign: ``+2.1 points (+0.8 to +3.4)``."""
    if not is_number(value):
        return MISSING
    scale, unit = (100, " points") if percent else (1, "")
    bounded = is_number(low) and is_number(high)
    digits = 1 if percent else _decimals([high - low if bounded and high > low else value])
    text = f"{_signed(scale * value, digits)}{unit}"
    if not bounded:
        return text
    return f"{text} ({_signed(scale * low, digits)} to {_signed(scale * high, digits)})"


def tick(value: float, *, percent: bool = False, signed: bool = False) -> str:
    """A figure on an axis, as short as it can be: ``85%``, ``0.25``, ``+5``."""
    sign = "+" if signed and value else ""
    text = f"{100 * value if percent else value:{sign}.4g}".replace("-", MINUS)
    return f"{text}%" if percent and not signed else text


def probability(value: Any) -> str:
    """A p-value: ``0.031``, ``< 0.001``."""
    if not is_number(value):
        return MISSING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def count(value: Any) -> str:
    """A whole number: ``4,652,008``."""
    return f"{round(value):,}" if is_number(value) else MISSING


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number of things: ``1 tensor``, ``12 tensors``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def share(part: Any, whole: Any) -> str:
    """A share in percent: ``0.03%``, ``100%``; never rounded to nothing or to all."""
    if not (is_number(part) and is_number(whole)) or whole <= 0:
        return MISSING
    percent = 100 * part / whole
    if percent in (0, 100):
        return f"{percent:.0f}%"
    if percent < 0.01:
        return "< 0.01%"
    if percent < 1:
        return f"{percent:.2f}%"
    return f"{min(percent, 99.9):.1f}%"


def seconds(value: Any) -> str:
    """A duration: ``12 s``, ``3 min 05 s``."""
    return duration(float(value)) if is_number(value) else MISSING


def moment(text: Any) -> str:
    """An ISO date as a person writes it: ``22 November 2026, 02:31 UTC``; as it stands where it is none."""
    try:
        when = datetime.fromisoformat(str(text))
    except ValueError:
        return str(text or MISSING)
    return f"{when.day} {when:%B %Y, %H:%M} {when.tzname() or ''}".strip()


def shortened(text: Any, length: int) -> str:
    """The text in one line of at most ``length`` characters."""
    line = " ".join(str(text).split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"


def sentence(text: Any) -> str:
    """The text with a full stop, where it has none."""
    told = str(text).strip()
    return told if not told or told.endswith((".", "!", "?")) else f"{told}."


def ending(text: Any, length: int) -> str:
    """The last ``length`` characters of a name, which tell paths apart."""
    line = " ".join(str(text).split())
    return line if len(line) <= length else "…" + line[1 - length :]


def class_name(name: Any) -> str:
    """A class's name, short enough for a table."""
    return shortened(name, 60)


def joined(words: Sequence[str], last: str = "and") -> str:
    """``a, b and c``."""
    return ", ".join(words) if len(words) < 2 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def _decimals(values: Sequence[float]) -> int:
    """How many decimals show about three digits of the smallest of the values, at most four."""
    small = min(abs(value) for value in values)
    return 2 if small == 0 else max(0, min(4, 2 - math.floor(math.log10(small))))


def _fixed(value: float, decimals: int) -> str:
    text = f"{value:,.{decimals}f}"
    nothing = not any(digit in text for digit in "123456789")
    return text.replace("-", "" if nothing else MINUS)


def _signed(value: float, decimals: int) -> str:
    text = _fixed(value, decimals)
    return text if text.startswith(MINUS) or not any(digit in text for digit in "123456789") else f"+{text}"
