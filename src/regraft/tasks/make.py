"""From a task's description to the task."""

from __future__ import annotations

from regraft.core.errors import UsageError
from regraft.core.task_spec import TASK_KINDS, TaskSpec
from regraft.tasks.classification import Classification
from regraft.tasks.multilabel import MultiLabel
from regraft.tasks.regression import Regression
from regraft.tasks.task import Task


def make_task(spec: TaskSpec) -> Task:
    """The task that a spec describes. Raises :class:`UsageError` for a kind or classes that make no sense."""
    if spec.kind == "regression":
        return Regression(spec)
    if spec.kind == "multilabel":
        _require_classes(spec, 1)
        return MultiLabel(spec)
    if spec.kind in ("binary", "multiclass"):
        _require_classes(spec, 2)
        return Classification(spec)
    raise UsageError(
        f"the task of output {spec.name!r} is {spec.kind!r}; choose one of {', '.join(TASK_KINDS)}"
    )


def _require_classes(spec: TaskSpec, least: int) -> None:
    count = len(spec.classes)
    if spec.kind == "binary" and count != 2:
        raise UsageError(f"output {spec.name!r} is binary and needs exactly 2 classes, but has {count}")
    if count < least:
        raise UsageError(
            f"output {spec.name!r} is {spec.kind} and needs at least {least} classes, but has {count}: "
            f"{', '.join(spec.classes) or 'none'}"
        )
