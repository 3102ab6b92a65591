"""Learning curves as data: arms at several numbers of labels, and how many labels an arm needs to match
another.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class CurvePoint:
    """An arm's figures at one number of labels.

    ``per_class`` is what was asked for, None at the run's own draw; ``labels`` the labelled examples used by
    each seed, validation included; ``test`` the deciding metric of each seed, ``low`` and ``high`` the 95%
    interval of the population's value, ``seconds`` the mean time of a trial.
    """

    per_class: int | None
    labels: float
    test: tuple[float, ...]
    mean: float
    low: float
    high: float
    seconds: float


@dataclass(frozen=True)
class CurveArm:
    """An arm's learning curve, fewest labels first."""

    name: str
    kind: str
    uses_source: bool
    points: tuple[CurvePoint, ...]


@dataclass(frozen=True)
class LabelEquivalence:
    """How many times the labels an arm needs to do as well as the strategy does at one of its points.

    Attributes
    ----------
    arm, strategy
        Names: who needs the labels, and whom it is to match.
    per_class, labels
        Of the strategy's point.
    ratio, low, high
        Times as many labels, with a 95% interval; NaN for what lies outside of what was measured.
    least, most
        The ratios that were measured: what lies outside is not extrapolated.
    found
        ``measured``, ``beyond`` (more than ``most``) or ``below`` (no more than ``least``).
    """

    arm: str
    strategy: str
    per_class: int | None
    labels: float
    ratio: float
    low: float
    high: float
    least: float
    most: float
    found: str

    @property
    def sentence(self) -> str:
        """As in ``SVM needs 6.3 times the labels (95% interval 4.1 to 9.8) to match probe at 50 labels``."""
        at = f"{self.labels:.0f} labels" + (f" ({self.per_class} per class)" if self.per_class else "")
        low = f"at most {_times(self.least)}" if math.isnan(self.low) else _times(self.low)
        high = f"more than {_times(self.most)}" if math.isnan(self.high) else _times(self.high)
        match = f"to match {self.strategy} at {at}"
        if self.found == "beyond":
            return (
                f"{self.arm} needs more than {_times(self.most)} times the labels {match}, the most that was "
                f"measured (95% interval from {low})."
            )
        if self.found == "below":
            return (
                f"{self.arm} needs no more than {_times(self.least)} times the labels {match}, the least "
                f"that was measured (95% interval up to {high})."
            )
        return (
            f"{self.arm} needs {_times(self.ratio)} times the labels (95% interval {low} to {high}) {match}."
        )


@dataclass(frozen=True)
class LearningCurve:
    """What ``prove --curve`` found.

    Attributes
    ----------
    seeds
        All arms at all points saw the draws of these. A seed's draws by labels per class lie in each other;
        the run's own, where it was drawn otherwise, need not.
    arms
        The strategy first, then the reference, then others without a source.
    equivalences
        Of every arm without a source with the strategy at every one of its points.
    sentence
        The reference's equivalence at the run's own number of labels where four times as many were measured,
        else at the fewest.
    cut
        What the budget or the data left out, in sentences.
    predicted_seconds, spent_seconds
        Beside those of the verdict's trials.
    """

    seeds: tuple[int, ...]
    arms: tuple[CurveArm, ...]
    equivalences: tuple[LabelEquivalence, ...]
    sentence: str
    cut: tuple[str, ...]
    predicted_seconds: float
    spent_seconds: float

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> LearningCurve:
        """From the ``curve`` of ``evidence.json``."""
        arms = tuple(
            CurveArm(**{**_known(CurveArm, arm), "points": tuple(map(_point, arm["points"]))})
            for arm in data["arms"]
        )
        found = tuple(LabelEquivalence(**_known(LabelEquivalence, one)) for one in data["equivalences"])
        rest = {name: tuple(data[name]) for name in ("seeds", "cut")}
        return cls(**{**_known(cls, data), **rest, "arms": arms, "equivalences": found})


def _point(data: dict[str, Any]) -> CurvePoint:
    test = tuple(math.nan if value is None else value for value in data["test"])
    return CurvePoint(**{**_known(CurvePoint, data), "test": test})


def _known(noun: Any, data: dict[str, Any]) -> dict[str, Any]:
    found = {field.name: data[field.name] for field in fields(noun) if field.name in data}
    numbers = {field.name for field in fields(noun) if field.type == "float"}
    return {key: math.nan if value is None and key in numbers else value for key, value in found.items()}


def _times(ratio: float) -> str:
    return f"{ratio:.0f}" if ratio >= 9.95 else f"{ratio:.1f}" if ratio >= 0.95 else f"{ratio:.2g}"
