"""Term: one part of the objective of a train stage."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from regraft.core.errors import PlanError
from regraft.tasks import Task

Outputs = Mapping[str, Tensor]
"""By output name, ``Float[Tensor, "examples K"]``."""


Labels = Mapping[str, Tensor]
"""By output name, encoded as TaskSpec says; the first dimension is the example."""


@dataclass(frozen=True)
class Partner:
    """With what the examples of a slice are mixed, where they are.

    Attributes
    ----------
    labels
        Labels of each example's partner.
    share
        How much of each example is its own; the rest is its partner's. Partners are a permutation of the
        whole batch, so sums over its labels are the same for both.
    """

    labels: Labels
    share: float


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
    whole
        By stream, then by output: the labels of the whole batch.
    partners
        By stream, where its examples are mixed in pairs: with what.
    frequencies
        By stream, then by output with classes: how often each class occurs among all of the stream's
        examples, ``Float[Tensor, "K"]``.
    """

    outputs: Callable[[str, str], Outputs]
    labels: Mapping[str, Labels]
    tasks: Mapping[str, Task]
    sizes: Mapping[str, int]
    known: Mapping[str, Mapping[str, int]]
    whole: Mapping[str, Labels] = field(default_factory=dict)
    partners: Mapping[str, Partner] = field(default_factory=dict)
    frequencies: Mapping[str, Labels] = field(default_factory=dict)


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
        What the plan says beyond that. Raises :class:`PlanError` for an option that there is not.
    """

    takes: ClassVar[tuple[str, ...]] = ()
    """Names of its options."""
    reads_labels: ClassVar[bool] = False
    """Whether its streams have to be labelled."""

    def __init__(
        self,
        *,
        models: tuple[str, ...],
        streams: tuple[str, ...],
        outputs: tuple[str, ...],
        options: Mapping[str, Any],
    ):
        self.models, self.streams, self.outputs, self.options = models, streams, outputs, options
        strange = [name for name in options if name not in self.takes]
        if strange:
            raise PlanError(
                f"the term {self.name!r} has no option {', '.join(strange)}; it has: "
                f"{', '.join(self.takes) or 'none'}"
            )

    @property
    def name(self) -> str:
        """What plans call it."""
        return type(self).__name__.lower()

    def looked_at(self, tasks: Mapping[str, Task]) -> tuple[str, ...]:
        """Names of the outputs that it looks at."""
        return self.outputs or tuple(tasks)

    def check(self, tasks: Mapping[str, Task]) -> None:
        """Raise :class:`PlanError` where it cannot be computed for these tasks."""
        strange = [name for name in self.outputs if name not in tasks]
        if strange:
            raise PlanError(
                f"the term {self.name!r} looks at the output {', '.join(strange)}; the data have: "
                f"{', '.join(tasks)}"
            )

    @abc.abstractmethod
    def __call__(self, context: StepContext) -> TermValue:
        """The value for one step."""
