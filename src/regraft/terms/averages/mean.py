"""mean: each number is the mean of what the stages left there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from regraft.terms.averages.average import Average, AverageRule, Blocks, Judge, Weights


class Mean(AverageRule):
    """The uniform soup of Wortsman et al. (2022), "Model soups": ``w = 1/k sum_i w_i``.

    Of a single stage it is that stage's weights to the bit: a way to begin again from there.
    """

    name = "mean"

    def __call__(self, ingredients: Mapping[str, Weights], judge: Judge, blocks: Blocks = ()) -> Average:
        """See :class:`AverageRule`."""
        return Average(mean_weights(list(ingredients.values())), {})


def mean_weights(ingredients: Sequence[Weights]) -> Weights:
    """The mean of each tensor, taken in float64; whole numbers (counters) are those of the last."""
    last = ingredients[-1]
    return {name: _mean([one[name] for one in ingredients]) for name in last}


def _mean(values: list[Tensor]) -> Tensor:
    last = values[-1]
    if len(values) == 1 or not last.is_floating_point():
        return last
    total = torch.zeros_like(last, dtype=torch.float64)
    for value in values:
        total += value
    return (total / len(values)).to(last.dtype)
