"""The plain baseline as an arm: no source, no deep learning, what a careful person would try first."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from regraft.core.errors import UsageError
from regraft.core.task_spec import TaskSpec
from regraft.evidence.arms import ArmKind, ArmResult
from regraft.targets import Draw, PlainBaseline, Target, plain_baseline
from regraft.tasks import Task, make_task


@dataclass
class BaselineArm:
    """Fits each candidate of :func:`regraft.targets.plain_baseline` and keeps the best on validation.

    Parameters
    ----------
    target
        A target whose examples can all be read (``prepare(..).target``).
    output
        Which of its outputs.
    """

    target: Target
    output: str
    kind: ArmKind = field(default="baseline", init=False)
    uses_source: bool = field(default=False, init=False)
    expected_seconds: float | None = field(default=None, init=False)
    _owed: float = field(
        default=0.0, init=False, repr=False
    )  # reading the pixels, charged to the first trial

    @property
    def name(self) -> str:
        """The baseline's own name, as in ``SVM on 32x32 grey pixels``."""
        return self._plain.name

    @cached_property
    def _plain(self) -> PlainBaseline:
        start = time.perf_counter()
        plain = plain_baseline(self.target)
        self._owed = time.perf_counter() - start
        return plain

    @cached_property
    def _spec(self) -> TaskSpec:
        return spec_of(self.target, self.output)

    def run(self, draw: Draw) -> ArmResult:
        """Fit on train, choose on validation, fit the choice on both, score the test part."""
        values = self._plain.values
        once, self._owed = self._owed, 0.0
        start = time.perf_counter()
        task = make_task(self._spec)
        figure, label, chosen = self._choose(draw, task)
        rows, labels = _labelled(self.target, task, np.union1d(draw.train, draw.validation))
        fitted = _fit(chosen, values[rows], labels, task)
        scores = _scores(fitted, values[self.target.test], task)
        seconds = once + time.perf_counter() - start
        return ArmResult(figure, scores, seconds, _parameters(fitted), once, label)

    def _choose(self, draw: Draw, task: Task) -> tuple[float, str, Any]:
        """The best candidate's figure on validation, its label and itself; the first where all are alike."""
        values = self._plain.values
        train, labels = _labelled(self.target, task, draw.train)
        held, truth = _labelled(self.target, task, draw.validation)
        best: tuple[float, str, Any] | None = None
        for label, estimator in self._plain.estimators(self._spec):
            fitted = _fit(estimator, values[train], labels, task)
            figure = (
                task.metrics[0].compute(_scores(fitted, values[held], task), truth) if len(held) else np.nan
            )
            if best is None or _better(figure, best[0], task):
                best = (figure, label, estimator)
        if best is None:
            raise UsageError(f"{self.name} has no candidate for output {self.output!r}")
        return best


def spec_of(target: Target, output: str) -> TaskSpec:
    """The spec of one of a target's outputs. Raises :class:`UsageError` for a name that is none."""
    for spec in target.tasks:
        if spec.name == output:
            return spec
    names = ", ".join(repr(spec.name) for spec in target.tasks)
    raise UsageError(f"there is no output {output!r}; the target's outputs are {names}")


def _labelled(target: Target, task: Task, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels = target.labels(rows)[task.spec.name]
    there = task.present(labels)
    return rows[there], labels[there]


def _better(figure: float, best: float, task: Task) -> bool:
    if np.isnan(figure) or np.isnan(best):
        return bool(np.isnan(best) and not np.isnan(figure))
    return figure > best if task.metrics[0].higher_is_better else figure < best


def _fit(estimator: Any, values: np.ndarray, labels: np.ndarray, task: Task) -> Any:
    """The fitted estimator, or the only class where there is nothing to tell apart."""
    if task.spec.kind in ("binary", "multiclass") and len(np.unique(labels)) == 1:
        return int(labels[0])
    from sklearn.base import clone

    with warnings.catch_warnings():
        # A label that all or none of a few examples have, or a fit that stops early, is still a fit.
        warnings.simplefilter("ignore")
        return clone(estimator).fit(
            values, labels.astype(np.int64) if task.spec.kind == "multilabel" else labels
        )


def _scores(fitted: Any, values: np.ndarray, task: Task) -> np.ndarray:
    """Decoded scores of any scikit-learn estimator."""
    if task.spec.kind == "regression":
        return np.asarray(fitted.predict(values), dtype=np.float64)
    if isinstance(fitted, int):
        return np.asarray(np.eye(task.outputs)[np.full(len(values), fitted)])
    if task.spec.kind == "multilabel":
        return _label_scores(fitted, values, task)
    said = np.asarray(fitted.predict(values), dtype=np.int64)
    scores = np.zeros((len(values), task.outputs))
    scores[:, fitted.classes_] = _class_scores(fitted, values)
    # A support vector machine decides by votes, which its margins may contradict: what it says comes first.
    rows, top = np.arange(len(values)), scores.max(axis=1)
    scores[rows, said] = np.where(scores[rows, said] < top, top * (1 + 1e-6), scores[rows, said])
    return np.asarray(scores / scores.sum(axis=1, keepdims=True))


def _class_scores(fitted: Any, values: np.ndarray) -> np.ndarray:
    if hasattr(fitted, "predict_proba"):
        return np.asarray(fitted.predict_proba(values))
    margins = np.asarray(fitted.decision_function(values), dtype=np.float64)
    if margins.ndim == 1:
        margins = np.stack([-margins / 2, margins / 2], axis=1)
    powers = np.exp(margins - margins.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _label_scores(fitted: Any, values: np.ndarray, task: Task) -> np.ndarray:
    if hasattr(fitted, "predict_proba"):
        return np.asarray(fitted.predict_proba(values), dtype=np.float64)
    margins = np.asarray(fitted.decision_function(values), dtype=np.float64)
    return task.scores(margins.reshape(len(values), task.outputs))


def _parameters(fitted: Any) -> int:
    """How many numbers an estimator learnt: coefficients (of examples, for a machine with a kernel)."""
    if isinstance(fitted, int):
        return 0
    last = fitted.steps[-1][1] if hasattr(fitted, "steps") else fitted
    if hasattr(last, "estimators_"):
        return sum(_parameters(one) for one in last.estimators_)
    names = ("dual_coef_" if hasattr(last, "dual_coef_") else "coef_", "intercept_")
    return sum(int(np.asarray(_dense(getattr(last, name))).size) for name in names if hasattr(last, name))


def _dense(values: Any) -> Any:
    return values.toarray() if hasattr(values, "toarray") else values
