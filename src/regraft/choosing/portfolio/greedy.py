r"""Choosing settings so that for most cases one of them is near the best.

With the regret :math:`r_{cs}` of setting ``s`` in case ``c`` (how much worse it does than the best of all
settings there), the expected regret of a portfolio ``P`` is what is lost where all of it are tried and the
best is kept:

.. math:: R(P) = \mathrm{mean}_c \min_{s \in P} r_{cs}.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def expected_regret(regrets: np.ndarray, settings: Sequence[int]) -> float:
    """``R(P)`` of some settings, columns of ``regrets`` ``float64 (cases, settings)``."""
    return float(regrets[:, list(settings)].min(1).mean())


def chosen(regrets: np.ndarray, count: int) -> list[int]:
    """Settings taken one by one, each the one that lowers the expected regret most; ties go to the first.

    The first is the best single one, and the first ``k`` are the greedy choice of ``k``: what they lower the
    regret by is at least 63% of what the best ``k`` would (Nemhauser, Wolsey and Fisher 1978, "An analysis of
    approximations for maximizing submodular set functions"), counted from the best single one's on. Raises
    ``ValueError`` for fewer than one or more than there are.
    """
    if not 1 <= count <= regrets.shape[1]:
        raise ValueError(f"there are {regrets.shape[1]} settings to choose from, {count} were asked for")
    taken: list[int] = []
    left = np.full(len(regrets), np.inf)
    for _ in range(count):
        means = np.minimum(regrets, left[:, None]).mean(0)
        means[taken] = np.inf
        taken.append(int(means.argmin()))
        left = np.minimum(left, regrets[:, taken[-1]])
    return taken
