"""Fix: a hyper-parameter of the target that is set so that it computes what the source computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Fix:
    """A hyper-parameter of the target that is set so that it computes what the source computes.

    Attributes
    ----------
    kind
        What is set: ``eps``, ``padding``, ``activation``, ``norm_first``.
    modules
        Paths of the target's submodules that it is set on.
    value
        What it is set to, plain JSON.
    was
        What it was before, plain JSON.
    """

    kind: str
    modules: tuple[str, ...]
    value: Any
    was: Any = None

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {"kind": self.kind, "modules": list(self.modules), "value": self.value, "was": self.was}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Fix:
        """From plain JSON."""
        return cls(data["kind"], tuple(data["modules"]), data["value"], data.get("was"))
