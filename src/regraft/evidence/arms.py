"""Arms: the ways to the target that are compared, and what one trial of one of them gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from regraft.targets import Draw

ArmKind = Literal["strategy", "probe", "baseline", "scratch"]


@dataclass(frozen=True)
class ArmResult:
    """What one trial gave.

    Attributes
    ----------
    validation
        The deciding metric on the draw's validation part: by it arms are chosen; NaN where there is none.
    scores
        Decoded scores (``Task.scores``) of ``target.test`` in its order; nobody has looked at its labels.
    seconds
        What the trial took, choosing hyper-parameters included.
    trained_parameters
        How many numbers were fitted.
    once_seconds
        The part of ``seconds`` that later trials need not pay again, as for features that are kept.
    note
        What was chosen, as in ``C=10``.
    """

    validation: float
    scores: np.ndarray
    seconds: float
    trained_parameters: int
    once_seconds: float = 0.0
    note: str = ""


class Arm(Protocol):
    """A way to the target that is fitted anew for every draw of training examples.

    Attributes
    ----------
    name
        As printed, as in ``probe on packaged:efficientnet-lite0``.
    kind
        What it is; the report groups by it.
    uses_source
        Whether pretrained weights go into it: the reference is the best arm that has none.
    expected_seconds
        What a trial is thought to cost before any was run, or None: an arm that three such trials would drive
        over the budget is not begun.
    """

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> ArmKind: ...
    @property
    def uses_source(self) -> bool: ...
    @property
    def expected_seconds(self) -> float | None: ...

    def run(self, draw: Draw) -> ArmResult:
        """Fit on ``draw.train``, choose on ``draw.validation``, score the test part's inputs."""
        ...
