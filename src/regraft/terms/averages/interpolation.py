"""interpolation: a point on the line between the weights that two stages left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from regraft.core.errors import PlanError
from regraft.terms.averages.average import Average, AverageRule, Blocks, Judge, Judged, Weights

GRID = tuple(step / 10 for step in range(11))
MIDDLE = 0.5
"""What Wortsman et al. recommend where nothing can be judged."""


class Interpolation(AverageRule):
    """WiSE-FT: ``w(a) = (1 - a) w_0 + a w_1`` with the share ``a`` that has the least validation loss.

    ``w_0`` are the weights of the first stage (in the paper the zero-shot model, here usually the solved head
    on the source's trunk), ``w_1`` those of the second, which was fine-tuned from it. ``a = 0`` and ``a = 1``
    are these, to the bit.

    Source: Wortsman et al. (2022), "Robust fine-tuning of zero-shot models", eq. 1. Changed: the paper's grid
    has steps of 0.05 and judges by accuracy; here it has steps of 0.1 and the loss judges, which moves
    where a small validation part's accuracy does not.

    Options: ``grid``, the shares that are tried; or ``share``, which takes that one and judges nothing.
    """

    name = "interpolation"
    takes = ("grid", "share")

    def __init__(self, options: Mapping[str, Any] | None = None):
        super().__init__(options)
        if len(self.options) == 2:
            raise PlanError("the average 'interpolation' takes a grid or a share, not both: leave one out")
        given = [self.options["share"]] if "share" in self.options else self.options.get("grid", GRID)
        self.grid = _checked(given)

    def check(self, of: Sequence[str]) -> None:
        """See :meth:`AverageRule.check`."""
        super().check(of)
        if len(of) != 2:
            named = ", ".join(of) or "none"
            raise PlanError(
                f"the average 'interpolation' lies between 2 stages; the plan names {named}: write as in "
                "of: [head, tune]"
            )

    def trials(self, of: Sequence[str], blocks: int = 1) -> int:
        """See :meth:`AverageRule.trials`."""
        return len(self.grid) if len(self.grid) > 1 else 0

    def __call__(self, ingredients: Mapping[str, Weights], judge: Judge, blocks: Blocks = ()) -> Average:
        """See :class:`AverageRule`."""
        start, end = ingredients.values()
        if len(self.grid) == 1:
            return Average(interpolate(start, end, self.grid[0]), {"chosen": self.grid[0]})
        found = [judge(interpolate(start, end, share)) for share in self.grid]
        chosen = _best(self.grid, found)
        line = {
            "across": "share",
            "grid": list(self.grid),
            "metric": "loss",
            "scores": [one.loss if one.known else None for one in found],
            "metrics": {name: [one.metrics[name] for one in found] for name in found[0].metrics},
            "chosen": chosen,
        }
        return Average(interpolate(start, end, chosen), line)


def interpolate(start: Weights, end: Weights, share: float) -> Weights:
    """``(1 - share) start + share end``; whole numbers (counters) are those of the end."""
    return {
        name: torch.lerp(start[name], value, share) if value.is_floating_point() else value
        for name, value in end.items()
    }


def _best(grid: Sequence[float], found: Sequence[Judged]) -> float:
    """The share with the least loss; of equals the first."""
    if not found[0].known:
        return min(grid, key=lambda share: abs(share - MIDDLE))
    return min(zip(grid, found, strict=True), key=lambda pair: pair[1].loss)[0]


def _checked(given: Any) -> tuple[float, ...]:
    values = list(given) if isinstance(given, list | tuple) else []
    if not values or not all(isinstance(one, int | float) and 0 <= one <= 1 for one in values):
        raise PlanError(
            f"the average 'interpolation' takes shares from 0 to 1, as in share: 0.5 or grid: [0, 0.5, 1]; "
            f"found {given!r}"
        )
    return tuple(sorted({float(one) for one in values}))
