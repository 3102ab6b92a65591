"""A candidate's line on the board."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

Decision = Literal["best", "as good as best", "dropped", "failed", "not tried"]
DECISIONS: tuple[Decision, ...] = get_args(Decision)
"""In the order in which rows stand on a board."""


@dataclass(frozen=True)
class Row:
    """What was found out about one candidate; None is what was not.

    Attributes
    ----------
    name
        Of the source.
    decision
        One of :data:`DECISIONS`.
    reason
        Why, in a sentence.
    stage
        The last stage it took part in: ``prior``, ``first look``, ``more examples``, ``race``.
    predicted, low, high
        The first metric of the model fine-tuned with all labels on the test part, and the ends of the
        interval that holds it with probability 80%.
    measured, examples
        The metric that a linear head on its features had on examples it had not seen, and how many these
        were.
    chance
        The probability to be the best of all.
    expected
        The percentile (0..1) among the candidates that facts about the source alone give it.
    seconds
        To fine-tune it here with all labels: an upper estimate, see ``regraft plan``.
    memory
        Bytes of its weights and of a training step.
    licence
        Of the weights.
    parameters
        Of the trunk.
    top1
        Its accuracy on ImageNet in percent, where that is known.
    naive
        Whether one would have taken it without looking at the data: see :attr:`Board.naive`.
    """

    name: str
    decision: Decision
    reason: str
    stage: str = "prior"
    predicted: float | None = None
    low: float | None = None
    high: float | None = None
    measured: float | None = None
    examples: int = 0
    chance: float | None = None
    expected: float | None = None
    seconds: float | None = None
    memory: int | None = None
    licence: str = ""
    parameters: int = 0
    top1: float | None = None
    naive: bool = False

    def to_json(self) -> dict[str, Any]:
        """As plain JSON, in which None is also what is not a number."""
        return {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in asdict(self).items()
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Row:
        """From plain JSON."""
        return cls(**data)
