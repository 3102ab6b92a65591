"""From trials of a learning curve to its figures: intervals at each point and label equivalence."""

from __future__ import annotations

import math

import numpy as np

from regraft.evidence.arms import Arm
from regraft.evidence.contrasts import Table, same_examples, usable_overlap
from regraft.evidence.curve import CurveArm, CurvePoint, LabelEquivalence, LearningCurve
from regraft.evidence.curve_trials import CurveTrials, PointTrials
from regraft.evidence.label_equivalence import Curve, Ratio, label_ratios
from regraft.evidence.trials import draws_overlap
from regraft.tasks import Metric, Task

_ROOM = 4  # times the labels that have to be measured above a point that the sentence is about


def judge_curve(trials: CurveTrials, task: Task, labels: np.ndarray) -> LearningCurve:
    """Figures of all arms at all points on the test labels, and the label equivalences.

    ``labels`` are those of ``target.test``, missing ones included: they are left out.
    """
    there = task.present(labels)
    tables = {
        arm.name: [_table(point, arm, task, labels, there) for point in trials.points] for arm in trials.arms
    }
    arms = tuple(_arm(arm, trials, tables[arm.name], task.metrics[0]) for arm in trials.arms)
    curves = {name: _curve(trials, found, task) for name, found in tables.items()}
    found = _equivalences(trials, arms, curves) if len(trials.points) > 1 else ()
    return LearningCurve(
        seeds=tuple(draw.seed for draw in trials.points[0].draws),
        arms=arms,
        equivalences=found,
        sentence=_headline(found, trials).sentence if found else "",
        cut=(*trials.cut, *_alike(trials)),
        predicted_seconds=round(trials.predicted_seconds, 3),
        spent_seconds=round(trials.spent_seconds, 3),
    )


def _alike(trials: CurveTrials) -> list[str]:
    """Where intervals speak for these examples only, because all draws hold nearly the same."""
    return [
        f"other labelled examples at {point.labels:.0f} labels: all seeds use nearly the same ones there, so "
        "the intervals speak for these"
        for point in trials.points
        if same_examples(draws_overlap(point.draws))
    ]


def _table(point: PointTrials, arm: Arm, task: Task, labels: np.ndarray, there: np.ndarray) -> Table:
    scores = [result.scores[there] for result in point.results[arm.name]]
    return Table.of(scores, labels[there], task.metrics[0])


def _arm(arm: Arm, trials: CurveTrials, tables: list[Table], metric: Metric) -> CurveArm:
    pairs = zip(trials.points, tables, strict=True)
    points = tuple(_point(point, table, arm, metric) for point, table in pairs)
    return CurveArm(arm.name, arm.kind, arm.uses_source, points)


def _point(point: PointTrials, table: Table, arm: Arm, metric: Metric) -> CurvePoint:
    found = table.estimate(usable_overlap(draws_overlap(point.draws)))
    low, high = metric.possible(found.low, found.high)
    return CurvePoint(
        per_class=point.per_class,
        labels=point.labels,
        test=found.values,
        mean=found.mean,
        low=low,
        high=high,
        seconds=round(float(np.mean([result.seconds for result in point.results[arm.name]])), 3),
    )


def _curve(trials: CurveTrials, tables: list[Table], task: Task) -> Curve:
    sign = -1 if task.metrics[0].higher_is_better else 1
    return Curve(
        np.array([point.labels for point in trials.points]),
        sign * np.stack([table.values for table in tables]),
        sign * np.stack([table.resampled for table in tables]),
        np.array([usable_overlap(draws_overlap(point.draws)) for point in trials.points]),
    )


def _equivalences(
    trials: CurveTrials, arms: tuple[CurveArm, ...], curves: dict[str, Curve]
) -> tuple[LabelEquivalence, ...]:
    mine, labels = arms[0], [point.labels for point in trials.points]
    return tuple(
        _said(arm.name, mine, at, labels, ratio)
        for arm in arms[1:]
        for at, ratio in enumerate(label_ratios(curves[mine.name], curves[arm.name]))
    )


def _said(name: str, mine: CurveArm, at: int, labels: list[float], ratio: Ratio) -> LabelEquivalence:
    least, most = labels[0] / labels[at], labels[-1] / labels[at]
    words = {math.inf: "beyond", -math.inf: "below"}
    return LabelEquivalence(
        arm=name,
        strategy=mine.name,
        per_class=mine.points[at].per_class,
        labels=labels[at],
        ratio=_inside(ratio.value),
        # An end that lies wholly outside is known to be no nearer than what was measured.
        low=most if ratio.low == math.inf else _inside(ratio.low),
        high=least if ratio.high == -math.inf else _inside(ratio.high),
        least=least,
        most=most,
        found=words.get(ratio.value, "measured"),
    )


def _inside(value: float) -> float:
    return value if math.isfinite(value) else math.nan


def _headline(found: tuple[LabelEquivalence, ...], trials: CurveTrials) -> LabelEquivalence:
    """Of the reference: at the run's own number of labels if there is room above it, else at the fewest."""
    mine = found[: len(trials.points)]
    own = next(at for at, point in enumerate(trials.points) if point.own)
    return mine[own] if mine[own].most >= _ROOM else mine[0]
