"""Finding: one thing about data, source and machine that makes a good result doubtful."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Finding:
    """Something that was measured before training and lies on the wrong side of a reference.

    Attributes
    ----------
    kind
        ``few labels``, ``dissimilar task``, ``too little memory`` or ``too little time``.
    number, reference
        What was measured, and what it was compared with, in one unit.
    sentence
        Both, in words.
    advice
        What would change it, and the line or the option to type.
    """

    kind: str
    number: float
    reference: float
    sentence: str
    advice: str

    def __str__(self) -> str:
        return f"{self.sentence} {self.advice}"

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Finding:
        """From plain JSON."""
        return cls(**data)
