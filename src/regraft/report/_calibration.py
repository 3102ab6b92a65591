"""How true probabilities are: a reliability diagram for each output, before and after the temperature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from regraft.report._charts import Line, Plane, Point, path, places
from regraft.report._folder import RunFolder
from regraft.report._scale import Scale, scale_of
from regraft.report._words import count, counted, figure, interval, is_number, tick

Json = dict[str, Any]


@dataclass(frozen=True)
class CalibrationView:
    """One output: the diagram, and rows of error, plain error, log-loss and Brier score.

    A row is what it is about, then its figures before and after the temperature, or as the model is.
    """

    name: str
    plane: Plane | None
    heads: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    sentence: str


def calibration_views(folder: RunFolder) -> tuple[CalibrationView, ...]:
    """Of every output that has probabilities."""
    outputs = folder.metrics.get("outputs") or {}
    told = [(str(name), output.get("calibration")) for name, output in outputs.items()]
    found = [_view(name, one) for name, one in told if isinstance(one, dict) and one.get("model")]
    return tuple(found)


def _view(name: str, told: Json) -> CalibrationView:
    sides = _sides(told)
    return CalibrationView(
        name=name,
        plane=_plane(sides),
        heads=tuple(word for word, _ in sides),
        rows=_rows([one for _, one in sides]),
        sentence=_sentence(told),
    )


def _sides(told: Json) -> list[tuple[str, Json]]:
    """What is drawn, by name: the model alone, or both sides of the temperature."""
    temperature = told.get("temperature")
    if not temperature:
        return [("the model", told["model"])]
    applied = bool(temperature.get("applied"))
    words = ("without temperature", "the model") if applied else ("the model", "with temperature")
    return [(word, temperature.get(key) or {}) for word, key in zip(words, ("before", "after"), strict=True)]


def _sentence(told: Json) -> str:
    temperature, error = told.get("temperature"), told["model"].get("ece_equal_mass") or {}
    text = ""
    if is_number((error.get("if_calibrated") or {}).get("high")):
        most = figure(error["if_calibrated"]["high"], percent=True)
        within = is_number(error.get("value")) and error["value"] <= error["if_calibrated"]["high"]
        text = f"True probabilities would show an uncorrected error of up to {most} on as many examples"
        text += ": this model's lies within that." if within else "; this model's lies beyond that."
    if not temperature:
        return text
    value = figure(temperature.get("value"))
    fitted = f"fitted on {counted(int(temperature['examples']), 'validation example')}"
    used = (
        "divides the model's logits"
        if temperature.get("applied")
        else "would divide the logits, and does not"
    )
    return f"{text} A temperature of {value}, {fitted}, {used}.".strip()


def _plane(sides: Sequence[tuple[str, Json]]) -> Plane | None:
    known = [(word, _bins(one)) for word, one in sides if _bins(one)]
    if not known:
        return None
    values = [value for _, bins in known for one in bins for value in _values(one)]
    scale = scale_of(values, least=0.0, most=1.0, narrowest=0.2)
    corner = [(scale.low, scale.low), (scale.high, scale.high)]
    return Plane(
        title="Share that is right against confidence",
        across="mean confidence of a bin",
        up="share that is right",
        x_ticks=_ticks(scale),
        y_ticks=_ticks(scale),
        lines=tuple(_line(word, bins, scale) for word, bins in known),
        guide=path(corner, scale, scale),
        caption="On the dashed diagonal probabilities come true; bars are 95% intervals.",
        square=True,
    )


def _ticks(scale: Scale) -> Any:
    return scale.ticks(lambda value: tick(value, percent=True), most=5)


def _bins(side: Json) -> list[Json]:
    rows = [one for one in side.get("reliability") or [] if isinstance(one, dict)]
    return [one for one in rows if is_number(one.get("confidence")) and is_number(one.get("right"))]


def _values(one: Json) -> list[float]:
    return [float(one[key]) for key in ("confidence", "right", "low", "high") if is_number(one.get(key))]


def _line(word: str, bins: Sequence[Json], scale: Scale) -> Line:
    points: list[Point] = [(one["confidence"], one["right"]) for one in bins]
    own = word == "the model"
    ends = [one for one in bins if is_number(one.get("low")) and is_number(one.get("high"))] if own else []
    return Line(
        name=word,
        path=path(points, scale, scale),
        dots=places(points, scale, scale),
        tone="accent" if own else "warm",
        whiskers=tuple(
            (
                scale.at(one["confidence"]),
                round(100 - scale.at(one["low"]), 2),
                round(100 - scale.at(one["high"]), 2),
            )
            for one in ends
        ),
    )


def _rows(sides: Sequence[Json]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    told = [
        ("calibration error", [_error(one, "ece_equal_mass") for one in sides]),
        ("in bins of equal width", [_error(one, "ece_equal_width") for one in sides]),
        ("uncorrected", [_plain(one) for one in sides]),
        ("log-loss", [figure(one.get("nll")) for one in sides]),
        ("Brier score", [figure(one.get("brier")) for one in sides]),
        ("predictions", [count(sum(row.get("count") or 0 for row in _bins(one))) for one in sides]),
    ]
    return tuple((name, tuple(texts)) for name, texts in told)


def _error(side: Json, key: str) -> str:
    error = side.get(key) or {}
    return interval(error.get("debiased"), error.get("low"), error.get("high"), percent=True)


def _plain(side: Json) -> str:
    return figure((side.get("ece_equal_mass") or {}).get("value"), percent=True)
