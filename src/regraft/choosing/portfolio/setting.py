"""A setting of fine-tuning, and the portfolio of them that comes with the package."""

from __future__ import annotations

import functools
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from regraft.core.files import read_json

SHIPPED = Path(__file__).with_name("portfolio.json")


@dataclass(frozen=True)
class Setting:
    """How a network is fine-tuned by stochastic gradient descent.

    Attributes
    ----------
    rate, momentum, weight_decay
        Of the optimiser.
    batch
        The size of a batch beside the larger of the two that were tried on a target: 1 or 0.5.
    """

    rate: float
    momentum: float
    weight_decay: float
    batch: float

    @property
    def stride(self) -> float:
        """How far a constant gradient moves a weight in a step, once momentum has built up."""
        return self.rate / (1.0 - self.momentum)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Setting:
        """From plain JSON."""
        return cls(**data)


def portfolio(size: int = 6) -> tuple[Setting, ...]:
    """The first ``size`` settings of the portfolio.

    The first is the best single one, and each next one adds most to those before it. Raises ``ValueError``
    where the package has fewer.
    """
    settings = tuple(Setting.from_json(one) for one in record()["settings"])
    if not 1 <= size <= len(settings):
        raise ValueError(f"the portfolio has 1 to {len(settings)} settings, {size} were asked for")
    return settings[:size]


@functools.cache
def record() -> dict[str, Any]:
    """What is shipped: the settings, how they were chosen and what they cost on targets left out."""
    found: dict[str, Any] = read_json(SHIPPED)
    return found
