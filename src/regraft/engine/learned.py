"""Weights of terms that are learned while a stage runs."""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from regraft.core.errors import PlanError
from regraft.plans.schema import Learned


class LearnedWeight(abc.ABC):
    """The weight of one term. Raises :class:`PlanError` for a start or an option that makes no sense.

    Parameters
    ----------
    spec
        What the plan says.
    """

    takes: ClassVar[Mapping[str, Any]] = {}
    """Its options and their defaults."""

    def __init__(self, spec: Learned):
        if spec.start <= 0:
            raise PlanError(f"a learned weight starts above 0; got start: {spec.start:g}")
        strange = [name for name in spec.options if name not in self.takes]
        if strange:
            raise PlanError(
                f"a weight learned by {spec.learned!r} has no option {', '.join(strange)}; it has: "
                f"{', '.join(self.takes)}"
            )
        self.start, self.options = spec.start, {**self.takes, **spec.options}

    @property
    @abc.abstractmethod
    def value(self) -> float:
        """The weight now."""

    @property
    @abc.abstractmethod
    def state(self) -> Tensor:
        """What a checkpoint holds, ``float64``."""

    @abc.abstractmethod
    def restore(self, state: Tensor) -> None:
        """Put back what :attr:`state` gave."""

    def _share(self, option: str) -> float:
        value = self.options[option]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
            raise PlanError(f"the option {option} of a learned weight lies between 0 and 1; got {value!r}")
        return float(value)


class Uncertainty(LearnedWeight):
    """Homoscedastic uncertainty (Kendall, Gal, Cipolla 2018, "Multi-task learning using uncertainty").

    The term L adds ``c exp(-s) L + s/2`` to the objective, and ``s = log sigma^2`` is trained with the
    optimiser, by the slope ``1/2 - c exp(-s) L`` and without weight decay; c is 1/2 for numbers and 1 for
    everything else. The weight is ``c exp(-s)``. The option ``rate`` is the rate of s, 0.01.
    """

    takes: ClassVar[Mapping[str, Any]] = {"rate": 0.01}

    def __init__(self, spec: Learned, *, numbers: bool = False):
        super().__init__(spec)
        self.rate = self._share("rate")
        self.half = 0.5 if numbers else 1.0
        self.s = nn.Parameter(torch.tensor(-math.log(self.start / self.half), dtype=torch.float64))

    @property
    def value(self) -> float:
        """See :class:`LearnedWeight`."""
        return self.half * math.exp(-self.s.item())

    @property
    def penalty(self) -> float:
        """What it adds to the objective beside the weighted term: s/2."""
        return self.s.item() / 2

    def pull(self, loss: float) -> None:
        """Set the slope of s where the weighted term is ``loss``; the optimiser does the rest."""
        self.s.grad = torch.tensor(0.5 - loss, dtype=torch.float64)

    @property
    def state(self) -> Tensor:
        """See :class:`LearnedWeight`."""
        return self.s.detach().clone()

    def restore(self, state: Tensor) -> None:
        """See :class:`LearnedWeight`."""
        with torch.no_grad():
            self.s.copy_(state)
