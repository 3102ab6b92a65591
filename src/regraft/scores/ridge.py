"""ridge: what a least-squares head would reach, by exact leave-one-out over the whole grid of penalties."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from regraft.core.errors import UsageError
from regraft.core.linalg import leave_one_out
from regraft.scores.examples import Examples
from regraft.scores.sharpness import Calibration

PENALTIES: tuple[float, ...] = tuple(10.0 ** (power / 2) for power in range(6, -11, -1))
"""Relative penalties, two to a decade: multiples of the mean eigenvalue of the features' Gram matrix."""


@dataclass(frozen=True, eq=False)
class LeaveOneOut:
    """What a ridge head with an intercept makes of every example, fitted to all others; one entry a penalty.

    Attributes
    ----------
    penalties
        ``float64 (P,)``, relative, strongest first.
    quality
        ``float64 (P,)``: the share of right answers (of all answers for several labels), in [0, 1]; for a
        regression the share of variance explained, at most 1.
    log_loss
        ``float64 (P,)``: mean log-loss with the sharpness that suits it (one number for each penalty, fitted
        to the same outputs); for several labels their mean. NaN for a regression.
    right
        ``float64 (P, N)``: each example's share of right answers; for a regression minus its squared error.
        For comparing sources example by example.
    held_out
        ``float64 (N, K)``: outputs at the best penalty.
    """

    penalties: np.ndarray
    quality: np.ndarray
    log_loss: np.ndarray
    right: np.ndarray
    held_out: np.ndarray

    @property
    def best(self) -> int:
        """Which penalty has the best quality; the strongest of equals."""
        return int(self.quality.argmax())

    @property
    def accuracy(self) -> float:
        """The best quality on the grid; as one of P it flatters, by much less than its standard error."""
        return float(self.quality[self.best])

    @property
    def least_log_loss(self) -> float:
        """The least log-loss on the grid, NaN for a regression."""
        return float(np.nan if np.isnan(self.log_loss).all() else np.nanmin(self.log_loss))


def ridge(
    examples: Examples, *, penalties: Sequence[float] = PENALTIES, log_loss: bool = True
) -> LeaveOneOut:
    r"""Leave-one-out ridge regression on columns of 0 and 1, or on the values of a regression.

    .. math:: \hat y_{-i} = y_i - \frac{y_i - \hat y_i}{1 - h_i}, \qquad
        h_i = \frac1N + \sum_j U_{ij}^2 \frac{s_j}{s_j + \lambda}

    (Allen 1974; :func:`regraft.core.linalg.leave_one_out`): exact, out of sample, an accuracy and not just an
    order, and the same head that ``probe`` solves. Time of the decomposition and ``P N R K``; the log-loss
    adds some passes over ``P N K`` numbers. Constant features give the largest class of the others.

    Parameters
    ----------
    penalties
        Relative, positive; sorted strongest first.
    log_loss
        Whether to compute it; NaN if not.
    """
    grid = sorted(penalties, reverse=True)
    if not grid or not all(0 < value < np.inf for value in grid):
        raise UsageError(f"a grid holds positive penalties, as in [0.01, 1, 100]; found {list(penalties)}")
    parts, targets = examples.features.decomposition, examples.targets
    right, losses, held_out, best, sharpness = [], [], targets, -1.0, [1.0] * examples.outputs
    for outputs in leave_one_out(parts, targets, [one * parts.unit for one in grid]):
        right.append(_right(examples, outputs))
        quality = _quality(examples, right[-1])
        if len(right) == 1 or quality > best:
            best, held_out = quality, outputs
        losses.append(_log_loss(examples, outputs, sharpness) if log_loss else np.nan)
    return LeaveOneOut(
        penalties=np.array(grid),
        quality=np.array([_quality(examples, one) for one in right]),
        log_loss=np.array(losses),
        right=np.stack(right),
        held_out=held_out,
    )


def ridge_accuracy(examples: Examples) -> float:
    """The best leave-one-out accuracy on the grid, for a regression the variance explained."""
    return ridge(examples, log_loss=False).accuracy


def ridge_log_likelihood(examples: Examples) -> float:
    """Minus the least leave-one-out log-loss on the grid: higher is better. Not for a regression."""
    if examples.kind == "regression":
        raise UsageError("a regression has no log-loss: take the score ridge")
    return -ridge(examples).least_log_loss


def _right(examples: Examples, outputs: np.ndarray) -> np.ndarray:
    if examples.kind == "regression":
        return -np.square(outputs - examples.targets).mean(axis=1)
    if examples.kind == "multilabel":
        return ((outputs >= 0.5) == (examples.targets >= 0.5)).mean(axis=1)
    return (outputs.argmax(axis=1) == examples.codes).astype(np.float64)


def _quality(examples: Examples, right: np.ndarray) -> float:
    mean = float(right.mean())
    return 1 + mean / float(examples.targets.var(axis=0).mean()) if examples.kind == "regression" else mean


def _log_loss(examples: Examples, outputs: np.ndarray, sharpness: list[float]) -> float:
    """The mean of one column's, or of each label's; ``sharpness`` is where each search begins, and ends."""
    if examples.kind == "regression":
        return float("nan")
    losses = []
    for number, (logits, codes) in enumerate(_choices(examples, outputs)):
        sharpness[number], loss = Calibration(logits, codes).fit(sharpness[number])
        losses.append(loss)
    return float(np.mean(losses))


def _choices(examples: Examples, outputs: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Outputs and classes of each choice that is made; a label is one of two, undecided at one half."""
    if examples.kind != "multilabel":
        yield outputs, examples.codes
        return
    for column, truth in zip(outputs.T, examples.targets.T, strict=True):
        yield np.stack([np.zeros_like(column), column - 0.5], axis=1), truth.astype(np.int64)
