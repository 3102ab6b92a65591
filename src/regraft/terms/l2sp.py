"""The l2sp term: weights are drawn towards the source's, new ones towards 0."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from regraft.terms.options import number
from regraft.terms.term import StepContext, Term, TermValue

ALPHA, BETA = 0.1, 0.01


class L2SP(Term):
    """L2-SP (Li, Grandvalet & Davoine 2018, "Explicit inductive bias for transfer learning").

    ``L = alpha/2 |w_S - w_S^0|^2 + beta/2 |w_S'|^2``

    over the parameters that the stage trains: ``w_S`` are those that the link carries over, whole or in part,
    ``w_S^0`` their values as the link gave them (not as the stage found them), and ``w_S'`` the others. It
    reads one model, no label, and of its stream only how many examples a slice of a batch has, so that
    slices of a batch add up to the whole.

    Options: ``alpha`` (0.1, which the paper chose most often of 0.001 to 1) and ``beta`` (0.01, as there).

    The optimiser's own weight decay draws towards 0 as well: groups beside this term have
    ``weight_decay: 0``.
    """

    name = "l2sp"
    takes: ClassVar[tuple[str, ...]] = ("alpha", "beta")
    needs: ClassVar[frozenset[str]] = frozenset({"weights", "start"})

    def __init__(self, **given: Any):
        super().__init__(**given)
        self.alpha = number(self.options, "alpha", ALPHA)
        self.beta = number(self.options, "beta", BETA)

    def __call__(self, context: StepContext) -> TermValue:
        """See :class:`Term`."""
        model, stream = self.models[0], self.streams[0]
        start, carried = context.start(model), context.carried(model)
        near: list[Tensor] = []
        small: list[Tensor] = []
        for name, weight in context.weights(model).items():
            if name in carried and name in start:
                near.append((weight - start[name]).square().sum())
            else:
                small.append(weight.square().sum())
        value = self.alpha / 2 * _sum(near) + self.beta / 2 * _sum(small)
        return TermValue.of_batch(value, context, stream)


def _sum(parts: list[Tensor]) -> Tensor:
    return torch.stack(parts).sum() if parts else torch.zeros(())
