"""What kind of task an output is: the small noun that targets and tasks share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

TaskKind = Literal["binary", "multiclass", "multilabel", "regression"]
TASK_KINDS: tuple[TaskKind, ...] = get_args(TaskKind)


@dataclass(frozen=True)
class TaskSpec:
    """One named output: its kind and, where it has classes, their names in order.

    Labels of an output with N examples and C classes are encoded as

    - binary, multiclass: ``int64 (N,)``, an index into ``classes``, -1 where missing;
    - multilabel: ``float32 (N, C)`` of 0 and 1, a row of NaN where missing;
    - regression: ``float32 (N,)``, NaN where missing.
    """

    name: str
    kind: TaskKind
    classes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {"name": self.name, "kind": self.kind, "classes": list(self.classes)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TaskSpec:
        """From plain JSON."""
        return cls(name=data["name"], kind=data["kind"], classes=tuple(data["classes"]))
