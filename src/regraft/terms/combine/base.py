"""CombineRule: from each term's gradient of the shared parameters to one gradient."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from regraft.core.errors import PlanError

State = dict[str, Tensor]
"""What a rule knows of the steps before, by name; a checkpoint holds it."""


@dataclass(frozen=True)
class Moment:
    """What a rule may read at one step.

    Attributes
    ----------
    gradients
        ``Float[Tensor, "terms parameters"]``: of each term, times its weight, over the parameters that more
        than one term reaches; zeros where a term does not reach one.
    losses
        ``Float[Tensor, "terms"]``: each term times its weight.
    generator
        For random choices: a function of the plan's seed, the rule and the step.
    """

    gradients: Tensor
    losses: Tensor
    generator: np.random.Generator


@dataclass(frozen=True)
class Combined:
    """What a rule made of a moment.

    Attributes
    ----------
    gradient
        ``Float[Tensor, "parameters"]``, of the shared parameters.
    factors
        ``Float[Tensor, "terms"]``: by what each term's gradient is multiplied where no other term reaches.
    state
        What the rule knows from now on, if the step is taken.
    """

    gradient: Tensor
    factors: Tensor
    state: State = field(default_factory=dict)


class CombineRule(abc.ABC):
    """One way to combine. Raises :class:`PlanError` for options that it does not have.

    Parameters
    ----------
    options
        What the plan says beyond the name.
    """

    takes: ClassVar[tuple[str, ...]] = ()
    """Names of its options."""
    separate: ClassVar[bool] = True
    """Whether it needs each term's own gradient, which costs one backward pass a term."""

    def __init__(self, options: Mapping[str, Any]):
        self.options = options
        strange = [name for name in options if name not in self.takes]
        if strange:
            raise PlanError(
                f"the combine rule {self.name!r} has no option {', '.join(strange)}; it has: "
                f"{', '.join(self.takes) or 'none'}"
            )

    @property
    def name(self) -> str:
        """What plans call it."""
        return type(self).__name__.lower()

    def begin(self, terms: int) -> State:
        """What it knows before the first step."""
        return {}

    def factors(self, terms: int, state: State) -> Tensor:
        """By what it multiplies each term's weight now, ``Float[Tensor, "terms"]``."""
        return torch.ones(terms)

    @abc.abstractmethod
    def __call__(self, moment: Moment, state: State) -> Combined:
        """The gradient of one step."""

    def number(self, option: str, default: float) -> float:
        """The value of an option that is a number from 0."""
        value = self.options.get(option, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise PlanError(
                f"the option {option} of the combine rule {self.name!r} is a number from 0; got {value!r}"
            )
        return float(value)


class Sum(CombineRule):
    """The plain sum: one backward pass over the weighted sum of the terms."""

    separate: ClassVar[bool] = False

    def __call__(self, moment: Moment, state: State) -> Combined:
        """See :class:`CombineRule`."""
        return Combined(moment.gradients.sum(0), self.factors(len(moment.losses), state), state)
