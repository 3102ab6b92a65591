"""A weight learned from how the gradients of two terms lie to each other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from regraft.core.errors import PlanError
from regraft.core.spelling import did_you_mean
from regraft.engine.learned import LearnedWeight, Uncertainty
from regraft.plans.schema import Learned


@dataclass(frozen=True)
class Moments:
    """What one step says of two terms' gradients, of the parameters that both reach, without weights.

    With g the gradient of a batch, G its mean over all batches that could have come and V = E|g - G|^2:

    Attributes
    ----------
    product
        Of both terms' gradients; estimates G_s G_t, as their batches are drawn apart.
    signal, reference_signal
        Estimates of |G|^2, from gradients of parts of one batch; may be negative.
    noise, reference_noise
        Estimates of V, as small as it is for all examples of the stream together.
    """

    product: float
    signal: float
    reference_signal: float
    noise: float
    reference_noise: float


class Alignment(LearnedWeight):
    """The weight of a term by what its gradient tells of that of the first term without such a weight.

    Both terms have gradients g_s = G_s + noise and g_t = G_t + noise of the parameters that both reach, and
    what is wanted is the step along G_t, the gradient that the reference would have with examples without
    end. The best linear prediction of G_t by ``x g_t + y g_s`` has

        x : y = |G_t|^2 (|G_s|^2 + V_s) - (G_s G_t)^2 : (G_s G_t) V_t

    and ``w = y / x``: the weight is 0 where the gradients point apart, falls as the reference has more
    examples (V_t is the noise of all of them together) and rises with what the term shares with it. Products
    are averaged over steps before they are divided, because a cosine of two noisy gradients is too small by
    as much as they are noisy; signal and noise are told apart by the halves of a batch. ``w / (1 + w)`` is
    averaged over steps as well. ``start`` is the weight at first.

    ``measure: cosine`` and ``sign`` are ``w = start a`` with ``a <- d a + (1 - d) m``, a = 1 at first, m the
    step's own cosine, not below 0, or 1 where that is positive and else 0 (Du et al. 2018, averaged).
    Options: ``decay``, d, 0.9; ``most``, the largest weight of a regression, 10.

    The prediction is that of Wiener (1949); the balance of a small sample's noise against another task's
    bias is that of Ben-David et al. (2010), "A theory of learning from different domains", section 5.
    """

    takes: ClassVar[Mapping[str, Any]] = {"decay": 0.9, "measure": "regression", "most": 10.0}
    LEAST: ClassVar[float] = 1e-6
    """Least weight: a term whose gradient is too small to be seen could never come back."""

    def __init__(self, spec: Learned):
        super().__init__(spec)
        self.decay = self._share("decay")
        self.measure, most = self.options["measure"], self.options["most"]
        if self.measure not in ("regression", "cosine", "sign"):
            raise PlanError(f"alignment has measure: regression, cosine or sign; got {self.measure!r}")
        if isinstance(most, bool) or not isinstance(most, int | float) or not 0 < most < math.inf:
            raise PlanError(f"the option most of a learned weight is a number above 0; got {most!r}")
        self.most = max(float(most), self.start)
        self.average = self.start / (1 + self.start) if self.regresses else 1.0
        self._sums, self._steps = [0.0] * 5, 0

    @property
    def regresses(self) -> bool:
        """Whether signal and noise of the gradients are wanted."""
        return bool(self.measure == "regression")

    @property
    def value(self) -> float:
        """See :class:`LearnedWeight`."""
        ratio = self.average / (1 - self.average) if self.regresses else self.start * self.average
        return max(ratio, self.LEAST)

    @property
    def moments(self) -> Moments:
        """The averages over steps so far; before the first one all are 0."""
        seen = 1 - self.decay**self._steps or 1.0
        return Moments(*(one / seen for one in self._sums))

    def follow(self, cosine: float, moments: Moments | None) -> None:
        """Learn from a step that was taken: the cosine of the gradients; moments where there were halves."""
        found: float | None = max(cosine, 0.0) if self.measure == "cosine" else float(cosine > 0)
        if self.regresses:
            if moments is not None:
                self._add(moments)
            found = self._share_found()
        if found is not None:
            self.average += (1 - self.decay) * (found - self.average)

    def _add(self, moments: Moments) -> None:
        both = zip(self._sums, astuple(moments), strict=True)
        self._sums = [old + (1 - self.decay) * (new - old) for old, new in both]
        self._steps += 1

    def _share_found(self) -> float | None:
        """``w / (1 + w)`` as the averages have it; None where they hold no gradient."""
        seen = self.moments
        product = max(seen.product, 0.0)
        signal, noise = max(seen.signal, 0.0), max(seen.noise, 0.0)
        own = max(seen.reference_signal, 0.0) * (signal + noise) - product**2
        x, y = max(own, 0.0), product * max(seen.reference_noise, 0.0)
        return min(y / (x + y), self.most / (1 + self.most)) if x + y > 0 else None

    @property
    def state(self) -> Tensor:
        """See :class:`LearnedWeight`."""
        return torch.tensor([self.average, *self._sums, self._steps], dtype=torch.float64)

    def restore(self, state: Tensor) -> None:
        """See :class:`LearnedWeight`."""
        self.average, *self._sums, steps = state.tolist()
        self._steps = int(steps)


def learned_weight(spec: Learned, *, numbers: bool = False) -> LearnedWeight:
    """The weight that a plan describes; ``numbers`` says that the term looks at outputs of numbers alone."""
    if spec.learned == "uncertainty":
        return Uncertainty(spec, numbers=numbers)
    if spec.learned == "alignment":
        return Alignment(spec)
    near = did_you_mean(spec.learned, ("alignment", "uncertainty"))
    raise PlanError(f"no weight is learned by {spec.learned!r}; there are: alignment, uncertainty{near}")
