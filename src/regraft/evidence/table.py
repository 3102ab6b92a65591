"""The evidence as text, for a terminal of 80 columns."""

from __future__ import annotations

import math

from regraft.core.console import duration
from regraft.evidence.verdict import ArmFigures, ContrastFigures, Evidence

_NAME = 38


def evidence_table(evidence: Evidence) -> str:
    """Arms with their intervals and costs, best first, and the strategy's paired difference to each."""
    metric = evidence.metric
    percent = bool(metric["percent"])
    sign = 1 if metric["higher_is_better"] else -1
    arms = sorted(evidence.arms, key=lambda arm: -sign * arm.mean)
    against = {contrast.against: contrast for contrast in evidence.contrasts}
    unit = ", %" if percent else ""
    lines = [f"{'arm':{_NAME}} {metric['name'] + unit:>22} {'a trial':>9} {'trained':>9}", "-" * 80]
    for arm in arms:
        lines += _arm_lines(arm, against.get(arm.name), percent)
    lines += _power(against.get(evidence.reference), percent)
    lines += [f"left out: {sentence}" for sentence in evidence.cut]
    return "\n".join(lines)


def _arm_lines(arm: ArmFigures, contrast: ContrastFigures | None, percent: bool) -> list[str]:
    name = arm.name if len(arm.name) <= _NAME else arm.name[: _NAME - 2] + ".."
    figure = _interval(arm.mean, arm.low, arm.high, percent)
    lines = [f"{name:{_NAME}} {figure:>22} {duration(arm.seconds):>9} {_count(arm.trained_parameters):>9}"]
    if contrast is not None:
        gain = _interval(contrast.mean, contrast.low, contrast.high, percent, signed=True)
        lines.append(f"    the strategy is {gain} {'points ' if percent else ''}ahead: {contrast.verdict}")
    return lines


def _power(contrast: ContrastFigures | None, percent: bool) -> list[str]:
    if contrast is None or not math.isfinite(contrast.detectable):
        return []
    factor, digits, unit = (100, 1, " points") if percent else (1, 3, "")
    size = f"{contrast.detectable * factor:.{digits}f}{unit}"
    return [f"Power: a true difference of {size} would have been found four times in five."]


def _interval(mean: float, low: float, high: float, percent: bool, *, signed: bool = False) -> str:
    factor, digits = (100, 1) if percent else (1, 3)
    shown = f"{'+' if signed else ''}.{digits}f"
    return f"{mean * factor:{shown}} ({low * factor:.{digits}f} to {high * factor:.{digits}f})"


def _count(number: int) -> str:
    if number >= 1_000_000:
        return f"{number / 1e6:.1f} M"
    return f"{number / 1e3:.1f} k" if number >= 1000 else str(number)
