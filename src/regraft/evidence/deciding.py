"""The verdict over several arms without a source, of which validation chose one as the best.

"The best arm without a source" is a claim about all of them, and the arm that looked best on a few validation
examples need not be it. So the verdict is that of the contrast with the chosen arm, and in the way of it
stands any other arm without a source that the strategy is not shown to be beyond as well:

- HELPED needs the interval of every such contrast above +delta (an intersection-union test, Berger 1982,
  which needs no adjustment for their number);
- EQUIVALENT needs that the strategy is shown to be no more than delta below any of them;
- HARMED needs the chosen contrast alone: below one arm is below the best.

Choosing the arm that looks best favours HARMED, by as much as validation and test share the luck of pool and
draws. With 3 seeds wrong verdicts can still
exceed 5% by a little (7.3% in the worst of 1,980 simulated cells, where 13% were wrong by the chosen contrast
alone); ``benchmarks/verdicts.py`` shows it.
"""

from __future__ import annotations

import numpy as np

from regraft.core.paired import Intervals, decisions


def choose(validation: np.ndarray, *, higher_is_better: bool) -> np.ndarray:
    """Which arm has the best mean of ``validation (..., arms, seeds)``; one that has none comes last."""
    means = validation.mean(axis=-1)
    worst = np.where(np.isnan(means), -np.inf, means if higher_is_better else -means)
    return np.asarray(worst.argmax(axis=-1))


def verdicts(found: Intervals, chosen: np.ndarray, delta: float) -> tuple[np.ndarray, np.ndarray]:
    """The verdicts ``(...)``, as text, and which arm stands in the way of a better one, -1 for none.

    Parameters
    ----------
    found
        Of the contrasts ``(..., arms)`` with the arms without a source.
    chosen
        Which of these is the reference ``(...)``.
    """
    each = decisions(found, delta)
    alone = np.take_along_axis(each, chosen[..., None], axis=-1)[..., 0]
    beyond = {
        "HELPED": found.low > delta,
        "EQUIVALENT": found.tail(-delta, above=True) < 1 - found.level,
    }
    by = np.full(alone.shape, -1)
    for verdict, passed in beyond.items():
        stopped = (alone == verdict) & ~passed.all(axis=-1)
        by = np.where(stopped, np.where(passed, np.inf, found.low).argmin(axis=-1), by)
    return np.where(by < 0, alone, "INCONCLUSIVE"), by
