"""GradNorm: weights under which every term pulls as hard as its progress asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from regraft.terms.combine.base import Combined, CombineRule, Moment, State

_LEAST = 1e-3


class GradNorm(CombineRule):
    """Gradient normalisation (Chen et al. 2018).

    With w_t the weight of term t (all 1 at first), ``G_t = w_t |g_t|`` the norm of its gradient of the shared
    parameters, ``r_t`` its loss over its first loss, divided by the terms' mean of that, the weights descend

        ``sum_t |G_t - mean(G) r_t^alpha|``,  ``mean(G) r_t^alpha`` held constant,

    and are scaled to sum to the number of terms. They multiply the weights that the plan gives.

    Options: ``alpha`` (1.5; 0 asks for equal norms) and ``rate`` (0.025, the paper's). Changed: the slope is
    divided by ``mean(|g|)``, so that the rate does not depend on the scale of the losses, and descended
    without momentum; the norm is that of all shared parameters, which are at hand, and not of the last
    shared layer.
    """

    takes: ClassVar[tuple[str, ...]] = ("alpha", "rate")

    def __init__(self, options: Mapping[str, Any]):
        super().__init__(options)
        self.alpha, self.rate = self.number("alpha", 1.5), self.number("rate", 0.025)

    def begin(self, terms: int) -> State:
        """Weights of 1 and no first losses yet."""
        return {"weights": torch.ones(terms), "first": torch.zeros(terms)}

    def factors(self, terms: int, state: State) -> Tensor:
        """The weights."""
        return state["weights"]

    def __call__(self, moment: Moment, state: State) -> Combined:
        """See :class:`CombineRule`."""
        weights, losses = state["weights"], moment.losses.cpu().float()
        first = torch.where(state["first"] > 0, state["first"], losses)
        norms = moment.gradients.norm(dim=1).cpu().float()
        later = balanced_weights(weights, norms, losses, first, alpha=self.alpha, rate=self.rate)
        spread = weights.to(moment.gradients)
        return Combined(spread @ moment.gradients, weights, {"weights": later, "first": first})


def balanced_weights(
    weights: Tensor, norms: Tensor, losses: Tensor, first: Tensor, *, alpha: float, rate: float
) -> Tensor:
    """The weights after a step; all arguments and the result are ``Float[Tensor, "terms"]``.

    Terms without a gradient at this step (no example of theirs was read) keep their weights.
    """
    there = (norms > 0) & (first > 0)
    if there.sum() < 2:
        return weights
    pulls = weights[there] * norms[there]
    progress = losses[there] / first[there]
    wanted = pulls.mean() * (progress / progress.mean()) ** alpha
    slope = (pulls - wanted).sign() * norms[there] / norms[there].mean()
    later = weights.clone()
    later[there] = (weights[there] - rate * slope).clamp(min=_LEAST)
    return later * len(later) / later.sum()
