"""From values to places on a chart, in percent of its width or height."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from regraft.report._words import figure


@dataclass(frozen=True)
class Tick:
    """A place on an axis, 0 to 100, and what is written there."""

    at: float
    text: str


@dataclass(frozen=True)
class Scale:
    """A linear or logarithmic axis from ``low`` to ``high``."""

    low: float
    high: float
    log: bool = False

    def at(self, value: float) -> float:
        """Where a value lies, 0 to 100; values beyond the axis lie on its end."""
        low, high = self._move(self.low), self._move(self.high)
        if self.log and value <= 0:
            return 0.0
        place = 100 * (self._move(value) - low) / (high - low)
        return round(min(100.0, max(0.0, place)), 2)

    def ticks(self, write: Callable[[float], str] = figure, *, most: int = 6) -> tuple[Tick, ...]:
        """Round values along the axis."""
        return self.ticks_at(self.round_values(most), write)

    def round_values(self, most: int) -> list[float]:
        """Powers of ten along a logarithmic axis, else steps of 1, 2, 2.5 or 5."""
        return _decades(self.low, self.high, most) if self.log else _steps(self.low, self.high, most)

    def ticks_at(
        self, values: Iterable[float], write: Callable[[float], str] = figure, *, apart: float = 0.0
    ) -> tuple[Tick, ...]:
        """Ticks at these values, as far as they lie on the axis and ``apart`` percent from the one before."""
        ticks: list[Tick] = []
        for value in sorted(value for value in values if self.low <= value <= self.high):
            place = self.at(value)
            if not ticks or place - ticks[-1].at >= apart:
                ticks.append(Tick(place, write(value)))
        return tuple(ticks)

    def _move(self, value: float) -> float:
        return math.log10(value) if self.log else value


def scale_of(
    values: Iterable[float],
    *,
    least: float | None = None,
    most: float | None = None,
    margin: float = 0.06,
    narrowest: float = 0.0,
) -> Scale:
    """A linear axis that holds all values with a margin, yet does not pass ``least`` and ``most``.

    ``narrowest`` keeps a small difference from filling the whole chart.
    """
    known = list(values) or [0.0, 1.0]
    low, high = min(known), max(known)
    width = max(high - low, narrowest) or max(abs(high), 1.0) * 0.1
    middle = (low + high) / 2
    low, high = middle - width * (0.5 + margin), middle + width * (0.5 + margin)
    if least is not None and low < least:
        low = least
    if most is not None and high > most:
        high = most
    return Scale(low, high) if high > low else Scale(low - 0.5, low + 0.5)


def log_scale(values: Iterable[float]) -> Scale | None:
    """A logarithmic axis where all values are positive and span more than a decade; None elsewhere."""
    known = list(values)
    if len(known) < 2 or min(known) <= 0 or max(known) < 10 * min(known):
        return None
    return Scale(min(known), max(known), log=True)


def log_axis(values: Iterable[float], *, margin: float = 0.08) -> Scale | None:
    """A logarithmic axis that holds all values with a margin, however near they are; None for values that
    are not positive.
    """
    known = list(values)
    if not known or min(known) <= 0:
        return None
    wide = max(max(known) / min(known), 1.5) ** margin
    return Scale(min(known) / wide, max(known) * wide, log=True)


def power(value: float) -> str:
    """A power of ten as it is written: ``10⁻³``; plain between a hundredth and a thousand."""
    if 0.01 <= value <= 1000:
        return f"{value:g}"
    exponent = round(math.log10(value))
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _steps(low: float, high: float, most: int) -> list[float]:
    rough = (high - low) / most
    size = 10 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10, 20) if size * factor >= rough)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def _decades(low: float, high: float, most: int) -> list[float]:
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    stride = max(1, math.ceil((last - first + 1) / most))
    return [10.0**exponent for exponent in range(first, last + 1, stride)]
