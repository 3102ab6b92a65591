"""Folds: labelled examples that a plan is carried out on, and others that judge what came of it.

Nothing of a plan may see what judges it: a train stage keeps the weights of its best epoch by the validation
part, a temperature is fitted to it, a probe is solved once more with it. So a fold has three parts: one to
train on and one to validate, as the plan itself splits what it is given, and a fifth of all labels that only
judges (nested cross-validation: Varma and Simon 2006, "Bias in error estimation when using cross-validation
for model selection").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from regraft.core.randomness import random_key
from regraft.targets import Draw, Target

JUDGED = 0.2
"""Share of the labels that a fold only judges on."""
SHARE = 1 - JUDGED
"""Share of the labels that a plan gets in a fold, of those that it gets in the end."""


@dataclass(frozen=True)
class Fold:
    """One way to divide the labelled examples; indices are those of the target, ascending.

    Attributes
    ----------
    draw
        What a plan is carried out on.
    judged
        What it is judged by.
    """

    draw: Draw
    judged: np.ndarray


def fold_seed(seed: int, number: int) -> int:
    """The seed of the ``number``-th fold of a race under ``seed``: far from those that a proof takes."""
    return random_key(seed, "race", number) % 2**31


def own_examples(draw: Draw) -> np.ndarray:
    """All labelled examples of a draw: a race uses no label that the run itself may not use."""
    return np.sort(np.concatenate([draw.train, draw.validation]))


def make_fold(target: Target, own: np.ndarray, seed: int, *, validation: float) -> Fold:
    """A fold of the labelled examples ``own``, stratified as every draw is; ``validation`` is the plan's.

    Where the data bring a validation part of their own, that is what judges.
    """
    outer = target.select(own).draw(seed, validation=JUDGED)
    given = own[outer.train]
    inner = target.select(given).draw(seed, validation=validation)
    return Fold(Draw(seed, given[inner.train], given[inner.validation]), own[outer.validation])
