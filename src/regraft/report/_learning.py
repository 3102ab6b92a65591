"""Learning curves: what each arm reaches with how many labels, and how many an arm needs to match another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from regraft.report._charts import Line, Plane, Point, band, path, places
from regraft.report._figures import axis_writer
from regraft.report._folder import RunFolder
from regraft.report._scale import Scale, log_axis, scale_of
from regraft.report._weights import TONES
from regraft.report._words import MISSING, count, interval, is_number, joined, seconds, shortened

_APART = 11.0  # percent of the width that a tick's text takes on a telephone
_LONGEST_NAME = 60

Json = dict[str, Any]


@dataclass(frozen=True)
class LearningView:
    """Arms over labels. A row: arm, labels, per class, figure, seconds, whether it is the run's own size."""

    plane: Plane
    sentence: str
    equivalences: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, str, str, str, str, bool], ...]
    metric: str
    cut: tuple[str, ...]


def learning_view(folder: RunFolder) -> LearningView | None:
    """The learning curves of the evidence; None where there are none."""
    evidence = folder.evidence
    curve = evidence.get("curve") or {}
    arms = [arm for arm in curve.get("arms") or [] if isinstance(arm, dict) and _points(arm)]
    metric = evidence.get("metric") or {}
    plane = _plane(arms, evidence) if arms else None
    if plane is None:
        return None
    percent = bool(metric.get("percent"))
    sentence = str(curve.get("sentence") or "")
    return LearningView(
        plane=plane,
        sentence=sentence,
        equivalences=_equivalences(curve, sentence),
        facts=_facts(curve),
        rows=tuple(_row(arm, point, evidence, percent) for arm in arms for point in _points(arm)),
        metric=str(metric.get("name", "metric")),
        cut=tuple(str(one) for one in curve.get("cut") or []),
    )


def _points(arm: Json) -> list[Json]:
    """An arm's points that have a figure and a number of labels."""
    found = [point for point in arm.get("points") or [] if isinstance(point, dict)]
    return [p for p in found if is_number(p.get("mean")) and is_number(p.get("labels")) and p["labels"] > 0]


def _plane(arms: Sequence[Json], evidence: Json) -> Plane | None:
    x = log_axis(point["labels"] for arm in arms for point in _points(arm))
    if x is None:
        return None
    metric = evidence.get("metric") or {}
    percent, name = bool(metric.get("percent")), str(metric.get("name", "metric"))
    limits = {"least": 0.0, "most": 1.0} if percent else {}
    values = [value for arm in arms for point in _points(arm) for value in _ends(point)]
    y = scale_of(values, narrowest=0.02 if percent else 0.0, **limits)
    drawn = arms[: len(TONES)]
    better = "higher" if metric.get("higher_is_better", True) else "lower"
    return Plane(
        title=f"{name} on the test part against labels",
        across=f"labelled examples (logarithmic); {better} is better, shaded: 95% interval",
        up=name,
        x_ticks=x.ticks_at({point["labels"] for arm in arms for point in _points(arm)}, count, apart=_APART),
        y_ticks=y.ticks(axis_writer(percent)),
        lines=tuple(_line(arm, x, y, tone) for arm, tone in zip(drawn, TONES, strict=False)),
        mark=_own_mark(arms[0], evidence, x, y),
        caption=_caption(arms, evidence),
    )


def _ends(point: Json) -> list[float]:
    return [float(point[key]) for key in ("mean", "low", "high") if is_number(point.get(key))]


def _line(arm: Json, x: Scale, y: Scale, tone: str) -> Line:
    points = _points(arm)
    means: list[Point] = [(point["labels"], point["mean"]) for point in points]
    known = [point for point in points if len(_ends(point)) == 3]
    lower, upper = ([(point["labels"], point[key]) for point in known] for key in ("low", "high"))
    return Line(
        name=shortened(arm.get("name", ""), _LONGEST_NAME),
        path=path(means, x, y),
        dots=places(means, x, y),
        tone=tone,
        band=band(lower, upper, x, y) if len(known) > 1 else "",
    )


def _is_own(point: Json, evidence: Json) -> bool:
    labels = evidence.get("labels")
    return is_number(labels) and abs(point["labels"] - labels) <= 0.5


def _own_mark(arm: Json, evidence: Json, x: Scale, y: Scale) -> Point | None:
    own = [point for point in _points(arm) if _is_own(point, evidence)]
    return places([(own[0]["labels"], own[0]["mean"])], x, y)[0] if own else None


def _caption(arms: Sequence[Json], evidence: Json) -> str:
    own = any(_is_own(point, evidence) for point in _points(arms[0]))
    told = [f"Circled: this run's own {count(evidence['labels'])} labels."] if own else []
    rest = [shortened(arm.get("name", ""), _LONGEST_NAME) for arm in arms[len(TONES) :]]
    told += [f"Not drawn, in the table: {joined(rest)}."] if rest else []
    return " ".join(told)


def _equivalences(curve: Json, said: str) -> tuple[str, ...]:
    """Sentences of all other equivalences, as evidence words them."""
    from regraft.evidence.curve import LearningCurve

    try:
        found = LearningCurve.from_json(curve).equivalences
        return tuple(one.sentence for one in found if one.sentence != said)
    except (AttributeError, KeyError, TypeError, ValueError):
        return ()  # of another version; the headline is there


def _facts(curve: Json) -> tuple[tuple[str, str], ...]:
    seeds = curve.get("seeds") or []
    spent = curve.get("spent_seconds")
    facts = [
        ("paired seeds", ", ".join(str(seed) for seed in seeds)),
        ("time", f"{seconds(spent)} beside the verdict's" if is_number(spent) else ""),
    ]
    return tuple((name, text) for name, text in facts if text)


def _row(arm: Json, point: Json, evidence: Json, percent: bool) -> tuple[str, str, str, str, str, bool]:
    per_class = point.get("per_class")
    return (
        shortened(arm.get("name", ""), _LONGEST_NAME),
        count(point["labels"]),
        count(per_class) if is_number(per_class) else MISSING,
        interval(point["mean"], point.get("low"), point.get("high"), percent=percent),
        seconds(point.get("seconds")),
        _is_own(point, evidence),
    )
