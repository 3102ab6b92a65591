"""How good each prediction for a judged example was: by example, so that entrants are compared in pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from regraft.engine.validation import calibrated_losses
from regraft.targets import Target
from regraft.tasks import Task
from regraft.tasks.metrics import MeanMetric

Values = dict[str, np.ndarray]
"""By output a number for each judged example, higher is better; NaN where the label is missing."""


@dataclass(frozen=True)
class Measure:
    """What the mean over judged examples is called, and how it is read.

    Attributes
    ----------
    name
        As printed: ``accuracy``, ``RMSE``, ``calibrated loss``.
    percent
        Whether it is a share.
    higher_is_better
        False for errors and losses, whose values are negative.
    root
        Whether the figure is the root of the mean.
    """

    name: str
    percent: bool = False
    higher_is_better: bool = True
    root: bool = False

    def figure(self, mean: float) -> float:
        """From the mean of values, of which higher is better, to the figure."""
        plain = mean if self.higher_is_better else max(-mean, 0.0)
        return plain**0.5 if self.root else plain

    def shown(self, figure: float) -> str:
        """The figure in words."""
        return f"{100 * figure:.1f}%" if self.percent else f"{figure:.4g}"


SEVERAL = Measure("gain over the probe, in its standard deviations")
"""Of several outputs: how much better than the probe's a prediction is, mean over the outputs whose label the
example has, each in standard deviations of the probe's values for that output."""


def measure_of(tasks: Sequence[Task]) -> Measure:
    """What decides: the task's first metric where that is a mean over examples, else its calibrated loss."""
    if len(tasks) > 1:
        return SEVERAL
    metric = tasks[0].metrics[0]
    if not isinstance(metric, MeanMetric):
        return Measure("calibrated loss", higher_is_better=False)
    return Measure(metric.name, metric.percent, metric.higher_is_better, metric.root)


def judge_values(
    tasks: Mapping[str, Task], target: Target, judged: np.ndarray, logits: Mapping[str, np.ndarray]
) -> Values:
    """The values of predictions for judged examples, in their order."""
    labels = target.labels(judged)
    return {name: _values(task, labels[name], logits[name]) for name, task in tasks.items()}


def _values(task: Task, labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    there = task.present(labels)
    found = np.full(len(labels), np.nan)
    if not there.any():
        return found
    known, truth = logits[there], labels[there]
    if isinstance(task.metrics[0], MeanMetric):
        found[there] = task.per_example(task.scores(known), truth)
    else:
        found[there] = -calibrated_losses(task, known, truth)
    return found
