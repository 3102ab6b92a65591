"""Term: one part of the objective of a train stage."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from regraft.tasks import Task

Outputs = Mapping[str, Tensor]
"""By output name, ``Float[Tensor, "examples K"]``."""


@dataclass(frozen=True)
class StepContext:
    """What a term may read in one step.

    Attributes
    ----------
    outputs
        ``outputs(model, stream)``: what a named model gives for the stream's batch, computed once per step.
    labels
        By stream, then by output: labels of the examples that are looked at, encoded as TaskSpec says.
    tasks
        By output.
    sizes
        By stream: how many examples the whole batch has, of which a slice may be looked at.
    known
        By stream, then by output: how many examples of the whole batch have that label.
    """

    outputs: Callable[[str, str], Outputs]
    labels: Mapping[str, Mapping[str, Tensor]]
    tasks: Mapping[str, Task]
    sizes: Mapping[str, int]
    known: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class TermValue:
    """A term's value, a scalar, and what each example of its first stream added, for finding culprits.

    A mean over examples is divided by the count of the whole batch: slices of a batch add up to it.
    """

    total: Tensor
    per_example: Tensor


class Term(abc.ABC):
    """Computes one number per step from models, streams and labels; the plan gives it its weight.

    Parameters
    ----------
    models, streams, outputs
        Names, as the plan's term says; empty outputs means all.
    options
        What the plan says beyond that.
    """

    def __init__(
        self,
        *,
        models: tuple[str, ...],
        streams: tuple[str, ...],
        outputs: tuple[str, ...],
        options: Mapping[str, Any],
    ):
        self.models, self.streams, self.outputs, self.options = models, streams, outputs, options

    @abc.abstractmethod
    def __call__(self, context: StepContext) -> TermValue:
        """The value for one step."""
