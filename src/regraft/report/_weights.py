"""How much each term of a training stage weighed, step by step, where that is scheduled or learned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import yaml

from regraft.report._charts import Line, Plane, Point, path, places, thinned
from regraft.report._folder import RunFolder
from regraft.report._scale import Scale, log_scale, power, scale_of
from regraft.report._words import count, figure, is_number

TONES = ("accent", "warm", "cool", "plain", "mossy", "amber")
"""Of the lines in their order: colours that differ also in the pattern of their strokes."""

_DOTTED = 40  # so many points at most are marked one by one


def weights_plane(
    steps: Sequence[dict[str, Any]], *, end: float, names: dict[str, str] | None = None
) -> Plane | None:
    """The weights of a stage's terms against its steps; None where none of them moves.

    ``names`` are what people call the terms. Terms beyond the first six are told of and not drawn.
    """
    series = {name: _series(steps, name) for entry in steps for name in entry.get("weights") or {}}
    if not any(len({value for _, value in points}) > 1 for points in series.values()):
        return None
    drawn, rest = list(series.items())[: len(TONES)], list(series)[len(TONES) :]
    values = [value for _, points in drawn for _, value in points]
    x = Scale(0.0, max(end, 1.0))
    y = log_scale(values) or scale_of(values, least=0.0 if min(values) >= 0 else None)
    called = names or {}
    return Plane(
        title="weights of terms against step",
        across="step",
        up="weight",
        x_ticks=x.ticks(count),
        y_ticks=y.ticks(power if y.log else figure, most=5),
        lines=tuple(
            _line(called.get(name, name), points, x, y, tone)
            for (name, points), tone in zip(drawn, TONES, strict=False)
        ),
        caption=_caption(drawn, called, rest),
    )


def term_names(folder: RunFolder, stage: str) -> dict[str, str]:
    """By a term's name in the history what it is called beside others: with its outputs, else its streams."""
    terms = _terms(folder, stage)
    outputs = [", ".join(map(str, term.get("outputs") or ())) for term in terms]
    streams = [", ".join(map(str, term.get("streams") or ())) for term in terms]
    seen: Counter[str] = Counter()
    names = {}
    for term, output, stream in zip(terms, outputs, streams, strict=True):
        computes = str(term.get("computes", ""))
        seen[computes] += 1
        key = computes if seen[computes] == 1 else f"{computes} {seen[computes]}"
        of = output or (stream if len(set(streams)) > 1 else "")
        names[key] = f"{computes} ({of})" if of else key
    return names


def _terms(folder: RunFolder, stage: str) -> list[dict[str, Any]]:
    """The terms of a stage as the plan says them; none where there is no such plan."""
    try:
        plan = yaml.safe_load(folder.plan)
    except yaml.YAMLError:
        return []
    stages = plan.get("stages") if isinstance(plan, dict) else None
    for one in stages if isinstance(stages, list) else ():
        if isinstance(one, dict) and one.get("name") == stage and isinstance(one.get("terms"), list):
            return [term for term in one["terms"] if isinstance(term, dict)]
    return []


def _series(steps: Sequence[dict[str, Any]], name: str) -> list[Point]:
    found = ((entry["step"], (entry.get("weights") or {}).get(name)) for entry in steps)
    return [(float(step), float(weight)) for step, weight in found if is_number(weight)]


def _line(name: str, points: list[Point], x: Scale, y: Scale, tone: str) -> Line:
    dots = places(points, x, y) if len(points) <= _DOTTED else ()
    return Line(name, path(thinned(points), x, y), dots, tone)


def _caption(drawn: Sequence[tuple[str, list[Point]]], names: dict[str, str], rest: Sequence[str]) -> str:
    ends = [f"{names.get(name, name)} {figure(points[-1][1])}" for name, points in drawn if points]
    more = f"; {len(rest)} more terms are not drawn" if rest else ""
    return f"at the end: {', '.join(ends)}{more}"
