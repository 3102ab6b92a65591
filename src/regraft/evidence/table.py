"""The evidence as text, for a terminal of 80 columns."""

from __future__ import annotations

import math

from regraft.core.console import duration
from regraft.evidence.curve import LearningCurve
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
    if evidence.selection is not None:
        chosen = evidence.selection
        by = f" by {chosen.how}" if chosen.how else ""
        lines.append(f"chosen among {chosen.candidates}{by} before, in {duration(chosen.seconds)}")
    lines += _power(against.get(evidence.reference), percent)
    lines += [f"left out: {sentence}" for sentence in evidence.cut]
    return "\n".join(lines)


def curve_table(curve: LearningCurve, *, percent: bool) -> str:
    """Arms by numbers of labels, and how many labels each arm without a source needs to match this run."""
    points = curve.arms[0].points
    heads = [f"{point.per_class} per class" if point.per_class else "this run" for point in points]
    lines = [f"{'labels':12} " + " ".join(f"{point.labels:>18.0f}" for point in points)]
    lines.append(f"{'':12} " + " ".join(f"{head:>18}" for head in heads))
    for arm in curve.arms:
        lines.append(arm.name)
        figures = [_interval(point.mean, point.low, point.high, percent) for point in arm.points]
        lines.append(f"{'':12} " + " ".join(f"{figure:>18}" for figure in figures))
    lines += [one.sentence for one in curve.equivalences]
    return "\n".join([*lines, *(f"left out: {sentence}" for sentence in curve.cut)])


def _arm_lines(arm: ArmFigures, contrast: ContrastFigures | None, percent: bool) -> list[str]:
    name = arm.name if len(arm.name) <= _NAME else arm.name[: _NAME - 2] + ".."
    figure = _interval(arm.mean, arm.low, arm.high, percent)
    lines = [f"{name:{_NAME}} {figure:>22} {duration(arm.seconds):>9} {_count(arm.trained_parameters):>9}"]
    if contrast is not None:
        gain = _interval(contrast.mean, contrast.low, contrast.high, percent, signed=True)
        lines.append(
            f"    the strategy is better by {gain}{' points' if percent else ''}: {contrast.verdict}"
        )
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
