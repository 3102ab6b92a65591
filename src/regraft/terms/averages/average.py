"""AverageRule: makes one model's weights of the weights that several stages left."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from regraft.core.errors import PlanError

Weights = Mapping[str, Tensor]
"""Tensors of a model by name; those that are the same in all that is averaged are left out."""


Blocks = Sequence[tuple[str, frozenset[str]]]
"""Stem to head, the heads last: a block's name and which of the tensors are its own."""


@dataclass(frozen=True)
class Judged:
    """How good some weights are on the validation examples.

    Attributes
    ----------
    loss
        Summed over outputs; lower is better.
    metrics
        The deciding metric of each output; empty where no validation example has a label.
    """

    loss: float
    metrics: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def known(self) -> bool:
        """Whether anything was judged."""
        return bool(self.metrics)


Judge = Callable[[Weights], Judged]
"""Puts weights into the model and validates it."""


@dataclass(frozen=True)
class Average:
    """What a rule decided.

    Attributes
    ----------
    weights
        What the model gets.
    history
        What was tried and chosen, for a line of the run's history.
    """

    weights: Weights
    history: dict[str, Any]


class AverageRule(abc.ABC):
    """Makes one set of weights of several.

    Parameters
    ----------
    options
        What the plan says. Raises :class:`PlanError` for an option that there is not.
    """

    name: ClassVar[str]
    """What plans call it."""
    takes: ClassVar[tuple[str, ...]] = ()
    """Names of its options."""

    def __init__(self, options: Mapping[str, Any] | None = None):
        self.options = dict(options or {})
        strange = [name for name in self.options if name not in self.takes]
        if strange:
            raise PlanError(
                f"the average {self.name!r} has no option {', '.join(strange)}; it has: "
                f"{', '.join(self.takes) or 'none'}"
            )

    def check(self, of: Sequence[str]) -> None:
        """Raise :class:`PlanError` where it cannot average these stages."""
        if not of:
            raise PlanError(f"the average {self.name!r} is of no stage: name at least one, as in of: [tune]")
        if len(set(of)) < len(of):
            raise PlanError(f"the average {self.name!r} names a stage twice: {', '.join(of)}")

    def trials(self, of: Sequence[str], blocks: int = 1) -> int:
        """How often it judges at most, where so many blocks differ."""
        return 0

    @abc.abstractmethod
    def __call__(self, ingredients: Mapping[str, Weights], judge: Judge, blocks: Blocks = ()) -> Average:
        """The average of the weights of some stages, by their names, in the plan's order.

        ``blocks`` says to which block each tensor belongs.
        """
