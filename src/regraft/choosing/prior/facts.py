"""Facts: what is known of a source without running it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

PRETRAINING = {
    "imagenet-1k": "labels of ImageNet-1k",
    "imagenet-21k": "labels of ImageNet-21k, or of a set as large",
    "imagenet-21k, then 1k": "labels of ImageNet-21k, then of ImageNet-1k",
    "semi-supervised": "few labels of ImageNet and all its pictures",
    "self-supervised": "pictures of ImageNet without labels",
    "self-supervised, then 1k": "pictures without labels, then the labels of ImageNet-1k",
    "generative": "a decoder or generator of pictures",
    "detection": "boxes or masks of objects, on top of ImageNet",
    "fine-tuned": "any of these, and then a smaller set of its own: a finished run, too",
    "small set": "a smaller set alone",
    "documents": "scanned pages",
    "text": "a corpus of text",
    "none": "nothing: its weights are random",
}
"""What ``Facts.pretraining`` may say, and what it means; ``unknown`` is the remaining word."""


@dataclass(frozen=True)
class Facts:
    """What is known of a source; whatever is not known says so.

    Attributes
    ----------
    pretraining
        One of :data:`PRETRAINING`, or ``unknown``.
    top1
        Accuracy on ImageNet-1k in percent, as published for these weights, or with a linear head for
        self-supervised ones; of what it grew on for a fine-tuned one.
    parameters
        How many it has; 0 where unknown.
    macs
        Multiplications for one example of the native size.
    size
        Side of the native input in pixels.
    family
        ``resnet``, ``vit``, .., as :func:`regraft.choosing.prior.families.family_of` names them;
        ``convolutional``, ``transformer`` or ``recurrent`` for a network without such a name; else empty.
    """

    pretraining: str = "unknown"
    top1: float | None = None
    parameters: int = 0
    macs: float | None = None
    size: int | None = None
    family: str = ""

    def __post_init__(self) -> None:
        if self.pretraining not in PRETRAINING and self.pretraining != "unknown":
            known = ", ".join((*PRETRAINING, "unknown"))
            raise ValueError(f"pretraining is one of {known}; got {self.pretraining!r}")
        numbers = (self.top1, self.macs, self.size, self.parameters)
        if any(number is not None and not (math.isfinite(number) and number >= 0) for number in numbers):
            raise ValueError(f"top1, parameters, macs and size are finite and not negative; got {self}")

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Facts:
        """From plain JSON."""
        return cls(**data)
