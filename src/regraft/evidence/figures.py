"""The final figures of a model on the test part, each with its interval: ``metrics.json``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from regraft.core.bootstrap import Interval, bootstrap_interval, share_interval
from regraft.core.errors import UsageError
from regraft.core.seal import Ledger
from regraft.core.task_spec import TaskSpec
from regraft.evidence.calibration import Temperature, calibration
from regraft.evidence.kept_values import KeptValues, values_to_keep
from regraft.evidence.mistakes import confused, confusion, per_class, residuals, worst
from regraft.evidence.slices import slices
from regraft.targets import Target
from regraft.tasks import Metric, make_task

_MOST, _LEAST = 1000, 200  # resamples
_WORK = 2e8  # numbers to resample in all, beyond which fewer resamples are drawn


@dataclass(frozen=True)
class Closer:
    """What else the figures are looked at by.

    Attributes
    ----------
    temperatures
        By output: adds calibration before and after it.
    columns
        By name, a word or None for each example of the test part: adds the metric for each value.
    doubles
        ``bool``, for each example of the test part whether one like it could be trained on: adds the figures
        without those.
    """

    temperatures: Mapping[str, Temperature] = field(default_factory=dict)
    columns: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    doubles: np.ndarray | None = None


def final_figures(
    target: Target,
    scores: Mapping[str, np.ndarray],
    ledger: Ledger,
    *,
    purpose: str = "final figures",
    closer: Closer | None = None,
) -> dict[str, Any]:
    """Score predictions for the test part; the ledger records that its labels were read.

    See :func:`figures_and_values`, of which this is the first part.
    """
    return figures_and_values(target, scores, ledger, purpose=purpose, closer=closer)[0]


def figures_and_values(
    target: Target,
    scores: Mapping[str, np.ndarray],
    ledger: Ledger,
    *,
    purpose: str = "final figures",
    closer: Closer | None = None,
) -> tuple[dict[str, Any], dict[str, KeptValues]]:
    """Score predictions for the test part, once; the ledger records that its labels were read.

    Parameters
    ----------
    target
        Whose test part it is.
    scores
        By output, decoded scores (``Task.scores``) of ``target.test`` in its order.
    ledger
        Counts the reading of test labels.
    closer
        What else to look at.

    Returns
    -------
    dict
        ``metrics.json``: by output every metric of its task with a 95% bootstrap interval over test examples,
        confusion, figures per class, calibration, residuals, the most confidently wrong examples, and slices
        where columns are given. A figure that is undefined is None.
    dict
        By output what the deciding metric says of each example, where it is a mean over examples.
    """
    _check(target, scores)
    labels = target.open_test(ledger, purpose)
    outputs = {
        spec.name: _figures_of(target, spec, scores[spec.name], labels[spec.name], closer or Closer())
        for spec in target.tasks
        if spec.name in scores
    }
    found = {
        spec.name: values_to_keep(make_task(spec), scores[spec.name], labels[spec.name])
        for spec in target.tasks
        if spec.name in scores
    }
    kept = {name: one for name, one in found.items() if one is not None}
    return {"part": "test", "count": len(target.test), "outputs": outputs}, kept


def _check(target: Target, scores: Mapping[str, np.ndarray]) -> None:
    names = [spec.name for spec in target.tasks]
    unknown = [name for name in scores if name not in names]
    if unknown or not scores:
        raise UsageError(
            f"scores were given for {', '.join(map(repr, unknown)) or 'no output'}; "
            f"the target's outputs are {', '.join(map(repr, names))}"
        )
    wrong = [f"{name!r} has {len(rows)}" for name, rows in scores.items() if len(rows) != len(target.test)]
    if wrong:
        raise UsageError(
            f"scores are needed for the {len(target.test)} examples of target.test, in its order; "
            f"{', '.join(wrong)}"
        )


def _figures_of(
    target: Target, spec: TaskSpec, scores: np.ndarray, labels: np.ndarray, closer: Closer
) -> dict[str, Any]:
    task = make_task(spec)
    there = task.present(labels)
    known, truth, examples = scores[there], labels[there], target.test[there]
    figures = {
        "task": spec.kind,
        "classes": list(spec.classes),
        "count": len(truth),
        "missing": int((~there).sum()),
        "deciding": task.metrics[0].name,
        "metrics": {metric.name: metric_json(metric, known, truth) for metric in task.metrics},
        "confusion": confusion(spec, known, truth),
        "confused": confused(spec, known, truth),
        "per_class": per_class(spec, known, truth),
        "calibration": calibration(task, known, truth, closer.temperatures.get(spec.name)),
        "residuals": residuals(spec, known, truth),
        "worst": worst(target, spec, examples, known, truth),
    }
    if closer.columns:
        columns = {name: _where(values, there) for name, values in closer.columns.items()}
        figures["slices"] = [one.to_json() for one in slices(task.metrics[0], known, truth, columns)]
    if closer.doubles is not None and closer.doubles[there].any():
        alone = ~closer.doubles[there]
        figures["without_near_duplicates"] = {
            "left_out": int((~alone).sum()),
            "count": int(alone.sum()),
            "metrics": {one.name: metric_json(one, known[alone], truth[alone]) for one in task.metrics},
        }
    return figures


def _where(values: Sequence[str | None], there: np.ndarray) -> list[str | None]:
    return [values[int(place)] for place in np.flatnonzero(there)]


def metric_json(metric: Metric, scores: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """A metric's figure and its interval, as in ``metrics.json``."""
    value = metric.compute(scores, labels)
    interval = _interval(metric, value, scores, labels)
    return {
        "value": number(value),
        "low": number(interval.low),
        "high": number(interval.high),
        "higher_is_better": metric.higher_is_better,
        "percent": metric.percent,
    }


def _interval(metric: Metric, value: float, scores: np.ndarray, labels: np.ndarray) -> Interval:
    if math.isnan(value):
        return Interval(value, value)
    found = bootstrap_interval(
        lambda counts: metric.resampled(scores, labels, counts),
        len(labels),
        resamples=int(np.clip(_WORK // scores.size, _LEAST, _MOST)),
        purpose="final figures",
    )
    # Where every resample is all right (or all wrong) a bootstrap would claim certainty.
    certain = metric.percent and found.low == found.high
    return share_interval(value, len(labels)) if certain else found


def number(value: float) -> float | None:
    """The value for JSON, which has no not-a-number."""
    return float(value) if math.isfinite(value) else None
