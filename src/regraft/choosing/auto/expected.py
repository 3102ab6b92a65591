"""What strategies gain over a probe before anything is tried, and what a race adds to that.

A fold of twenty judged examples cannot tell one strategy from another, however clear its figures look: their
difference is worth as much as its error allows beside what strategies usually gain. Gains are in standard
deviations of the probe's values over examples, so that one table serves every metric: 0.023 is a point of
accuracy at 75%.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from regraft.choosing.auto.entrants import FEW


@dataclass(frozen=True)
class Gain:
    """A strategy's usual gain over a probe: mean and standard deviation over targets."""

    mean: float
    spread: float


_UNKNOWN = Gain(0.0, 0.06)
STEPS = (FEW, 100)
"""Labels per class between which the columns of :data:`GAINS` change."""
GAINS: dict[str, tuple[Gain, Gain, Gain]] = {
    "lpft": (Gain(0.0, 0.06), Gain(0.0, 0.06), Gain(0.035, 0.08)),
    "partial": (Gain(0.0, 0.1), Gain(0.02, 0.06), Gain(0.035, 0.08)),
    "l2sp": (Gain(-0.005, 0.06), Gain(-0.005, 0.06), Gain(0.035, 0.08)),
    "lora": (Gain(-0.02, 0.06), Gain(0.0, 0.06), Gain(0.04, 0.06)),
    "joint": (Gain(-0.005, 0.06), Gain(-0.005, 0.06), Gain(-0.005, 0.06)),
    "full": (Gain(-0.5, 0.6), Gain(-0.2, 0.5), Gain(0.0, 0.3)),
}
"""With fewer than 20 labels per class, fewer than 100, and more. Rounded means over six targets with 10, 50
and 200 labels per class (``benchmarks/results``: ``strategies.jsonl``, ``auto_regret.jsonl``; with 200 only
``lpft`` and ``lora`` were fitted, and the others are taken to be alike). ``benchmarks/auto_regret.py`` judges
``auto`` on each target with the gains of the other targets."""
INDIFFERENT = 0.01
"""A gain that is not worth a longer fit: about half a point of accuracy."""
_VARIANT = 0.02
"""What another setting of a strategy usually loses, the plan's own being no random one."""


def expected_gain(strategy: str, per_class: float, *, changed: bool = False) -> Gain:
    """The usual gain of a strategy with so many labels per class; ``changed`` where its settings are."""
    column = sum(per_class >= step for step in STEPS)
    usual = GAINS[strategy][column] if strategy in GAINS else _UNKNOWN
    return Gain(usual.mean - _VARIANT, usual.spread) if changed else usual


def weighed(anchor: np.ndarray, other: np.ndarray, usual: Gain) -> float:
    """The gain to expect once both have values on the same judged examples, ``float64 (rows,)`` each.

    The mean of a normal prior and the measured difference, each by the inverse of its variance. The
    difference has two more examples on which both differ, one each way (Agresti and Min 2005, "Simple
    improved confidence intervals for comparing matched proportions"): none that differ is not certainty.
    """
    spread = float(anchor.std()) or float(other.std()) or 1.0
    apart = (other - anchor) / spread
    error = float(apart.var()) / len(apart) + 8.0 / len(apart) ** 2
    trust = usual.spread**2 / (usual.spread**2 + error)
    return float(usual.mean + trust * (apart.mean() - usual.mean))
