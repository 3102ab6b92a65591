"""The prior: a normal score for a source from facts about it alone, linear in a few numbers made of them."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from regraft.choosing.prior.facts import Facts
from regraft.core.files import read_json

SHIPPED = Path(__file__).with_name("prior.json")

BLOCKS = ("pretraining", "top1", "parameters", "macs", "size", "family")
"""What is known or not known as one; each gives one or several numbers."""

_WITH_TOP1 = {
    "imagenet-1k": "labels",
    "imagenet-21k, then 1k": "labels",
    "self-supervised, then 1k": "labels",
    "semi-supervised": "labels",
    "fine-tuned": "labels",
    "self-supervised": "linear",
}


@dataclass(frozen=True)
class Score:
    """A normal score: where the source stands in standard deviations of a pool of sources."""

    mean: float
    variance: float


@dataclass(frozen=True)
class Prior:
    """A linear model of normal scores.

    Attributes
    ----------
    weights
        By the name of a number, ``top1 labels`` or ``family resnet``.
    middle
        What each block that the model reads adds where it is not known: the mean over what it was fitted on.
    doubt
        The variance that this leaves, for each block.
    noise
        The variance of what no fact tells.
    fitted
        How it was made and how well it does, for the reader.
    """

    weights: Mapping[str, float]
    middle: Mapping[str, float]
    doubt: Mapping[str, float]
    noise: float
    fitted: Mapping[str, Any] = field(default_factory=dict)

    def score(self, facts: Facts) -> Score:
        """The normal score of a source: a sum over blocks, and a variance that unknown ones add to."""
        mean, variance = 0.0, self.noise
        given = numbers_of(facts)
        for block, middle in self.middle.items():
            numbers = given[block]
            # A value that no table had, as of a new family, is as good as unknown.
            if numbers is None or any(name not in self.weights for name in numbers):
                mean += middle
                variance += self.doubt[block]
            else:
                mean += sum(self.weights[name] * value for name, value in numbers.items())
        return Score(mean, min(variance, 1.0))

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            "weights": dict(self.weights),
            "middle": dict(self.middle),
            "doubt": dict(self.doubt),
            "noise": self.noise,
            "fitted": dict(self.fitted),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Prior:
        """From plain JSON."""
        return cls(**data)


def numbers_of(facts: Facts) -> dict[str, dict[str, float] | None]:
    """What the model is linear in, block by block; None for a block that is not known.

    Accuracies in units of 5 points, parameters, multiplications and pixels in factors of ten, ten and two.
    """
    kind = _WITH_TOP1.get(facts.pretraining, "")
    top1: dict[str, float] | None = {}
    if kind:
        top1 = None if facts.top1 is None else {f"top1 {kind}": (facts.top1 - _USUAL[kind]) / 5}
    return {
        "pretraining": _one("pretraining", facts.pretraining.replace("unknown", "")),
        "top1": top1,
        "parameters": _log("parameters", facts.parameters or None, 2.5e7, 10),
        "macs": _log("macs", facts.macs or None, 4e9, 10),
        "size": _log("size", facts.size or None, 224, 2),
        "family": _one("family", facts.family),
    }


_USUAL = {"labels": 77.0, "linear": 69.0}


def _one(block: str, value: str) -> dict[str, float] | None:
    return {f"{block} {value}": 1.0} if value else None


def _log(block: str, value: float | None, unit: float, base: float) -> dict[str, float] | None:
    return None if value is None else {block: math.log(value / unit, base)}


@functools.cache
def shipped() -> Prior:
    """The prior that comes with the package; ``fitted`` says how it was made."""
    return Prior.from_json(read_json(SHIPPED))
