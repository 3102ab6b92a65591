"""The learning curves: score against penalty for what was solved, loss, metrics and weights against step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from regraft.report._charts import Line, Plane, Point, path, places, sampled, thinned
from regraft.report._folder import RunFolder
from regraft.report._scale import Scale, log_scale, power, scale_of
from regraft.report._weights import term_names, weights_plane
from regraft.report._words import count, figure, is_number, tick

_MOST_STAGES, _MOST_METRICS = 12, 6


def percent_names(folder: RunFolder) -> dict[str, bool]:
    """Which metrics are shares, as far as the run's figures say so; errors and losses never are."""
    known: dict[str, bool] = {}
    for output in (folder.metrics.get("outputs") or {}).values():
        for name, entry in (output.get("metrics") or {}).items():
            known[name] = bool(entry.get("percent"))
    metric = folder.evidence.get("metric") or {}
    if "name" in metric:
        known[metric["name"]] = bool(metric.get("percent"))
    return known


def curves(folder: RunFolder) -> tuple[tuple[str, tuple[Plane, ...]], ...]:
    """For each stage its name and its charts."""
    percent = percent_names(folder)
    stages: dict[str, list[dict[str, Any]]] = {}
    for entry in folder.history:
        stages.setdefault(str(entry.get("stage", "")), []).append(entry)
    drawn = [(name, _stage(entries, percent, term_names(folder, name))) for name, entries in stages.items()]
    return tuple((name, planes) for name, planes in drawn if planes)[:_MOST_STAGES]


def _stage(
    entries: list[dict[str, Any]], percent: dict[str, bool], terms: dict[str, str] | None = None
) -> tuple[Plane, ...]:
    solved = [_solved(entry, percent) for entry in entries if entry.get("kind") in ("solve", "average")]
    steps = [entry for entry in entries if entry.get("kind") == "train" and is_number(entry.get("step"))]
    planes = [plane for plane in solved if plane is not None]
    return tuple(planes) + (_trained(steps, percent, terms) if steps else ())


def _solved(entry: dict[str, Any], percent: dict[str, bool]) -> Plane | None:
    pairs = zip(entry.get("grid") or [], entry.get("scores") or [], strict=False)
    points = [(float(a), float(b)) for a, b in pairs if is_number(a) and is_number(b)]
    if len(points) < 2:
        return None
    metric = str(entry.get("metric", "score"))
    write = _writer(metric, percent)
    x = log_scale(a for a, _ in points) or scale_of([a for a, _ in points])
    y = _y_scale([b for _, b in points], metric, percent)
    chosen = [point for point in points if point[0] == entry.get("chosen")]
    solver = str(entry.get("solver") or entry.get("rule") or "solver")
    across = str(entry.get("across", "penalty"))
    output = f" for {entry['output']}" if entry.get("output") else ""
    return Plane(
        title=f"{solver}{output}: {metric} against {across}",
        across=across,
        up=metric,
        x_ticks=x.ticks(power if x.log else figure),
        y_ticks=y.ticks(write, most=5),
        lines=(Line(metric, path(points, x, y), places(sampled(points, 60), x, y)),),
        mark=places(chosen, x, y)[0] if chosen else None,
        caption=f"chosen: {across} {chosen[0][0]:.3g}, {metric} {write(chosen[0][1])}" if chosen else "",
    )


def _trained(
    steps: list[dict[str, Any]], percent: dict[str, bool], terms: dict[str, str] | None
) -> tuple[Plane, ...]:
    loss = _series(steps, "loss")
    checks = [{"step": entry["step"], **entry["validation"]} for entry in steps if entry.get("validation")]
    metrics = sorted({name for check in checks for name in check} - {"step", "loss", "calibrated loss"})
    end = max(float(entry["step"]) for entry in steps)
    planes = [_plane("loss", [("training", loss), ("validation", _series(checks, "loss"))], end, percent)]
    planes += [
        _plane(name, [("validation", _series(checks, name))], end, percent)
        for name in metrics[:_MOST_METRICS]
    ]
    planes.append(weights_plane(steps, end=end, names=terms))
    return tuple(plane for plane in planes if plane is not None)


def _series(entries: list[dict[str, Any]], key: str) -> list[Point]:
    return [(float(entry["step"]), float(entry[key])) for entry in entries if is_number(entry.get(key))]


def _plane(
    metric: str, series: Sequence[tuple[str, list[Point]]], end: float, percent: dict[str, bool]
) -> Plane | None:
    series = [(name, points) for name, points in series if points]
    if not series:
        return None
    write = _writer(metric, percent)
    x = Scale(0.0, max(end, 1.0))
    y = _y_scale([b for _, points in series for _, b in points], metric, percent)
    return Plane(
        title=f"{metric} against step",
        across="step",
        up=metric,
        x_ticks=x.ticks(count),
        y_ticks=y.ticks(write, most=5),
        lines=tuple(_line(name, points, x, y) for name, points in series),
    )


def _line(name: str, points: list[Point], x: Scale, y: Scale) -> Line:
    checked = name == "validation"
    dots = places(points, x, y) if checked and len(points) <= 40 else ()
    return Line(name, path(thinned(points), x, y), dots, "warm" if checked else "accent")


def _y_scale(values: list[float], metric: str, percent: dict[str, bool]) -> Scale:
    if _is_share(metric, percent):
        return scale_of(values, least=0.0, most=1.0, narrowest=0.02)
    return scale_of(values, least=0.0 if min(values) >= 0 else None)


def _is_share(metric: str, percent: dict[str, bool]) -> bool:
    """Whether a metric is a share; where there are several outputs, its name follows that of the output."""
    known = {"accuracy": True, **percent}
    return any(share and f" {metric}".endswith(f" {name}") for name, share in known.items())


def _writer(metric: str, percent: dict[str, bool]) -> Callable[[float], str]:
    return partial(tick, percent=_is_share(metric, percent))
