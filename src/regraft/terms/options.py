"""Reading a term's options: what is asked, what was found, what is usual."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from regraft.core.errors import PlanError


def count(options: Mapping[str, Any], name: str, usual: int) -> int:
    """An option that is a whole number from 1; ``usual`` where it is not given."""
    value = options.get(name, usual)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise PlanError(f"{name} is a whole number from 1, as {usual}; got {value!r}")
    return value


def number(options: Mapping[str, Any], name: str, usual: float, *, positive: bool = False) -> float:
    """An option that is a number from 0, or above 0; ``usual`` where it is not given."""
    value = options.get(name, usual)
    fits = isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
    if not fits or (positive and value == 0):
        raise PlanError(f"{name} is a number {'above' if positive else 'from'} 0, as {usual}; got {value!r}")
    return float(value)
