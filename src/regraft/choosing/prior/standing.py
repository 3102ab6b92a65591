"""Standing: where a source is expected to come among the candidates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from regraft.choosing.prior.facts import Facts
from regraft.choosing.prior.model import shipped

if TYPE_CHECKING:
    from regraft.choosing.prior.model import Prior

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(32)


@dataclass(frozen=True)
class Standing:
    """A percentile among the candidates, 0 the worst and 1 the best.

    Attributes
    ----------
    mean, spread
        Its expectation and its standard deviation; a source of which nothing is known stands at about 0.5
        with 0.29, the spread of a number drawn evenly.
    """

    mean: float
    spread: float

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Standing:
        """From plain JSON."""
        return cls(**data)


def expected(facts: Sequence[Facts], *, prior: Prior | None = None) -> list[Standing]:
    r"""Where each of these candidates is expected to come among them, in their order.

    The prior gives each candidate a normal score :math:`z \sim N(m, v)`; ``m`` is taken from the candidates'
    mean, since only what differs between them decides who comes first. A pool's normal scores have
    variance 1, so that what the facts leave open is at least :math:`1 - \mathrm{var}(m)`: between candidates
    that are much alike the standings stay wide. The percentile is :math:`\Phi(z)`.
    """
    if not facts:
        return []
    scores = [(prior or shipped()).score(one) for one in facts]
    means = np.array([score.mean for score in scores])
    open_ = max(0.0, 1.0 - float(means.var()))
    centred = means - means.mean()
    return [
        _standing(float(mean), max(score.variance, open_))
        for mean, score in zip(centred, scores, strict=True)
    ]


def _standing(mean: float, variance: float) -> Standing:
    r"""Mean and spread of :math:`\Phi(z)`, :math:`z \sim N(mean, variance)`, by Gauss-Hermite quadrature."""
    points = [_normal(mean + math.sqrt(variance) * float(node)) for node in _NODES]
    weights = _WEIGHTS / _WEIGHTS.sum()
    middle = float(weights @ np.array(points))
    spread = float(weights @ (np.array(points) - middle) ** 2)
    return Standing(middle, math.sqrt(spread))


def _normal(value: float) -> float:
    return 0.5 * (1.0 + math.erf(value / math.sqrt(2.0)))
