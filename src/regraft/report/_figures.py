"""The sections on the final figures, the mistakes, and the most confidently wrong examples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from regraft.report._charts import Dot, DotPlot, Plane, cloud, path, sampled
from regraft.report._folder import RunFolder
from regraft.report._media import Example, Gallery, label_text
from regraft.report._scale import Scale, scale_of
from regraft.report._words import class_name, count, figure, interval, is_number, numbers, share, tick

LARGEST_MATRIX = 30
_MOST_PAIRS = 20
_MOST_WORST = 12


@dataclass(frozen=True)
class MetricRow:
    """A line of the table of figures."""

    name: str
    text: str
    better: str
    decides: bool


@dataclass(frozen=True)
class Cell:
    """A cell of the confusion matrix; ``level`` is its ``share`` of the row, 0 to 1."""

    text: str
    share: str
    level: float
    right: bool
    said: str


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix, rows are the truth."""

    classes: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


@dataclass(frozen=True)
class Pair:
    """How often one class was taken for another."""

    truth: str
    predicted: str
    count: str
    share: str
    length: float


@dataclass(frozen=True)
class OutputView:
    """One output's figures and mistakes."""

    name: str
    kind: str
    counted: str
    rows: tuple[MetricRow, ...]
    plots: tuple[DotPlot, ...]
    per_class: dict[str, Any]
    classes: int
    confusion_known: bool
    matrix: Matrix | None
    pairs: tuple[Pair, ...]
    residuals: Plane | None
    worst: tuple[Example, ...]


def output_views(folder: RunFolder, gallery: Gallery) -> tuple[OutputView, ...]:
    """The figures of every output."""
    outputs = folder.metrics.get("outputs") or {}
    return tuple(_output(str(name), output, gallery) for name, output in outputs.items())


def _output(name: str, output: dict[str, Any], gallery: Gallery) -> OutputView:
    classes = tuple(class_name(item) for item in output.get("classes") or [])
    confusion = output.get("confusion") or []
    metrics = output.get("metrics") or {}
    deciding = str(output.get("deciding", ""))
    return OutputView(
        name=name,
        kind=str(output.get("task", "")),
        counted=_counted(output),
        rows=_metric_rows(metrics, deciding),
        plots=_plots(metrics, deciding),
        per_class=output.get("per_class") or {},
        classes=len(classes),
        confusion_known=bool(confusion),
        matrix=_matrix(classes, confusion) if 0 < len(confusion) <= LARGEST_MATRIX else None,
        pairs=_pairs(classes, confusion),
        residuals=_residuals(output.get("residuals") or {}),
        worst=tuple(_wrong(entry, gallery) for entry in (output.get("worst") or [])[:_MOST_WORST]),
    )


def _counted(output: dict[str, Any]) -> str:
    text = f"{count(output.get('count'))} test examples"
    missing = output.get("missing")
    return f"{text}, {count(missing)} more without a label" if is_number(missing) and missing else text


def _metric_rows(metrics: dict[str, Any], deciding: str) -> tuple[MetricRow, ...]:
    return tuple(
        MetricRow(
            name=name,
            text=metric_text(entry),
            better="higher" if entry.get("higher_is_better", True) else "lower",
            decides=name == deciding,
        )
        for name, entry in metrics.items()
    )


def metric_text(entry: dict[str, Any]) -> str:
    """A metric's figure with its interval."""
    percent = bool(entry.get("percent"))
    return interval(entry.get("value"), entry.get("low"), entry.get("high"), percent=percent)


def _plots(metrics: dict[str, Any], deciding: str) -> tuple[DotPlot, ...]:
    """One plot of the shares, one of the errors, one of the rest: each unit on an axis of its own."""
    known = {name: entry for name, entry in metrics.items() if is_number(entry.get("value"))}
    shares = {name: entry for name, entry in known.items() if entry.get("percent")}
    errors = {
        name: entry
        for name, entry in known.items()
        if name not in shares and not entry.get("higher_is_better", True)
    }
    rest = {name: entry for name, entry in known.items() if name not in shares and name not in errors}
    drawn = [
        (shares, "share, higher is better", 0.0, 1.0),
        (errors, "in the label's own unit, lower is better", 0.0, None),
        (rest, "higher is better, 1 is perfect", None, 1.0),
    ]
    return tuple(_plot(group, axis, deciding, low, high) for group, axis, low, high in drawn if group)


def _plot(
    metrics: dict[str, Any], axis: str, deciding: str, least: float | None, most: float | None
) -> DotPlot:
    ends = [value for entry in metrics.values() for value in numbers(entry.get(key) for key in _KEYS)]
    percent = all(entry.get("percent") for entry in metrics.values())
    anchored = ends if percent else [0.0, *ends]
    scale = scale_of(anchored, least=least if percent or min(ends) >= 0 else None, most=most, narrowest=0.04)
    rows = tuple(
        Dot(
            label=name,
            text=metric_text(entry),
            at=scale.at(entry["value"]),
            low=scale.at(entry["low"]) if is_number(entry.get("low")) else None,
            high=scale.at(entry["high"]) if is_number(entry.get("high")) else None,
            tag="decides" if name == deciding else "",
            strong=name == deciding,
        )
        for name, entry in metrics.items()
    )
    return DotPlot("Final figures on the test part", rows, scale.ticks(axis_writer(percent)), axis)


_KEYS = ("value", "low", "high")


def axis_writer(percent: bool) -> Callable[[float], str]:
    """How the ticks of an axis are written."""
    return partial(tick, percent=percent)


def _matrix(classes: tuple[str, ...], confusion: list[list[int]]) -> Matrix:
    names = classes if len(classes) == len(confusion) else tuple(map(str, range(len(confusion))))
    rows = []
    for row_at, (truth, row) in enumerate(zip(names, confusion, strict=True)):
        whole = sum(row) or 1
        cells = tuple(
            Cell(
                text=count(n) if n else "",
                share=share(n, whole),
                level=round(n / whole, 3),
                right=row_at == column,
                said=f"{truth} taken for {predicted}: {n} ({share(n, whole)})",
            )
            for column, (predicted, n) in enumerate(zip(names, row, strict=True))
        )
        rows.append((truth, cells))
    return Matrix(names, tuple(rows))


def _pairs(classes: tuple[str, ...], confusion: list[list[int]]) -> tuple[Pair, ...]:
    names = classes if len(classes) == len(confusion) else tuple(map(str, range(len(confusion))))
    wrong = [
        (n, truth, predicted, sum(row))
        for truth, row in enumerate(confusion)
        for predicted, n in enumerate(row)
        if n and truth != predicted
    ]
    wrong.sort(key=lambda pair: (-pair[0], -pair[0] / pair[3]))
    most = wrong[0][0] if wrong else 1
    return tuple(
        Pair(names[truth], names[predicted], count(n), share(n, whole), round(100 * n / most, 2))
        for n, truth, predicted, whole in wrong[:_MOST_PAIRS]
    )


def _residuals(residuals: dict[str, Any]) -> Plane | None:
    pairs = zip(residuals.get("labels") or [], residuals.get("values") or [], strict=False)
    points = [(float(a), float(b)) for a, b in pairs if is_number(a) and is_number(b)]
    if not points:
        return None
    scale = scale_of([value for point in points for value in point])
    diagonal = [(scale.low, scale.low), (scale.high, scale.high)]
    return Plane(
        title="Predicted against true value",
        across="true value",
        up="predicted value",
        x_ticks=_ticks(scale),
        y_ticks=_ticks(scale),
        cloud=cloud(sampled(points), scale, scale),
        guide=path(diagonal, scale, scale),
    )


def _ticks(scale: Scale) -> Any:
    return scale.ticks(axis_writer(False), most=5)


def _wrong(entry: dict[str, Any], gallery: Gallery) -> Example:
    said = label_text(entry.get("predicted"))
    confidence = entry.get("confidence")
    sure = f"{figure(confidence, percent=True)} sure" if is_number(confidence) else ""
    return gallery.example(
        entry, title=f"is {label_text(entry.get('label'))}", note=f"predicted {said}", sure=sure
    )


def deciding_metric(folder: RunFolder) -> tuple[str, str, str]:
    """The first output's deciding metric: name, figure, the output's name; empty where there is none."""
    for name, output in (folder.metrics.get("outputs") or {}).items():
        metrics = output.get("metrics") or {}
        deciding = output.get("deciding") or next(iter(metrics), "")
        if deciding in metrics:
            return str(deciding), metric_text(metrics[deciding]), str(name)
    return "", "", ""
