"""Cross-validation along a path of penalties: the folds solved together, warm from one to the next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from regraft.core.randomness import numpy_generator
from regraft.terms.solvers.convex import LogisticProblems, minimise

_FLAT = 5e-6  # root mean square of the gradient at the end; where scikit-learn stops it is about 1e-5
_CLOSE = 3e-5  # nats per example that may be left to gain where the gradient is as flat as that
_SLIGHT = 1e-8  # nats per example that are worth no step, and that float32 does not tell apart
_BLOCK = 1 << 25  # numbers in the logits of the folds that are solved together, to bound memory


@dataclass(frozen=True)
class FoldFits:
    """What F folds gave at one penalty.

    Attributes
    ----------
    held_out
        ``float64 (K, N)``: logits of every example by the fit that did not see it; NaN for what none
        held out.
    parameters
        ``float32 (F, K, R+1)``: each fold's own, in the axes of its problem.
    """

    held_out: np.ndarray
    parameters: np.ndarray


def deal_folds(kinds: np.ndarray, folds: int, *, seed: int) -> np.ndarray:
    """The fold that holds each row out, -1 for rows that never are.

    Parameters
    ----------
    kinds
        ``int (N,)``: rows of one kind are spread evenly; the only row of a kind is never held out.
    folds
        At most this many, and no more than the commonest kind has rows.
    """
    order = numpy_generator(seed, "logistic folds").permutation(len(kinds))
    groups = [order[kinds[order] == kind] for kind in np.unique(kinds)]
    spare = [group for group in groups if len(group) > 1]
    out = np.full(len(kinds), -1)
    if spare:
        together = np.concatenate(spare)
        # Dealt out like cards, kind after kind: every kind and every fold gets its share.
        out[together] = np.arange(len(together)) % min(folds, max(len(group) for group in spare))
    return out


def walk(problem: LogisticProblems, penalties: Sequence[float], fold: np.ndarray) -> Iterator[FoldFits]:
    """The folds' fits at each penalty in turn, each from the one before it: strongest penalty first.

    Each is solved until the root mean square of its gradient per example is 5e-6 and it can
    fall by no more than 3e-5 nats per example; scikit-learn stops where that root mean square is about 1e-5.
    The way from one penalty to the next is searched first beyond it: a path bends little.

    Parameters
    ----------
    problem
        One problem that learns from all examples.
    fold
        ``int (N,)``: the fold that holds each example out, -1 for those that all learn from.
    """
    groups = _groups(problem, fold)
    starts = [group.start for group in groups]
    ways: list[np.ndarray | None] = [None] * len(groups)
    for penalty in penalties:
        logits = np.full(problem.truth.shape, np.nan)
        for number, group in enumerate(groups):
            found = minimise(
                group,
                penalty,
                starts[number],
                tolerance=_SLIGHT,
                flat=_FLAT,
                close=_CLOSE,
                towards=ways[number],
            )
            ways[number] = found.parameters - starts[number]
            starts[number] = found.parameters
            for learns, values in zip(group.learns, found.logits, strict=True):
                logits[:, learns == 0] = values[:, learns == 0]
        yield FoldFits(logits, np.concatenate(starts))


def _groups(problem: LogisticProblems, fold: np.ndarray) -> list[LogisticProblems]:
    """The folds as problems, as many together as memory allows, in float32: they only serve to choose."""
    learns = (fold[None, :] != np.arange(fold.max() + 1)[:, None]).astype(np.float32)
    together = max(1, _BLOCK // max(1, problem.truth.size))
    single = replace(
        problem,
        examples=problem.examples.astype(np.float32),
        curvature=problem.curvature.astype(np.float32),
        truth=problem.truth.astype(np.float32),
        penalised=problem.penalised.astype(np.float32),
    )
    return [replace(single, learns=learns[at : at + together]) for at in range(0, len(learns), together)]
