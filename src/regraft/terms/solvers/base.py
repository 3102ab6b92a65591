"""What every solver takes and gives: labelled features, a grid of penalties, a solution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from regraft.core.errors import DataError, UsageError
from regraft.tasks import Task

DEFAULT_GRID: tuple[float, ...] = tuple(10.0 ** (power / 2) for power in range(-10, 7))
"""Relative penalties, two to a decade: multiples of the mean eigenvalue of the features' Gram matrix."""


@dataclass(frozen=True)
class Solution:
    """A linear head, solved: ``features @ weight.T + bias`` for N examples, D features, K outputs.

    Attributes
    ----------
    weight, bias
        ``float64 (K, D)`` and ``(K,)``.
    held_out
        ``float64 (N, K)``: outputs for every example by a fit that did not see it, at the chosen penalty; NaN
        for rows without a label and rows that were never held out.
    score
        The metric of the held-out outputs at the chosen penalty.
    history
        One line of a run's ``history.jsonl``: solver, grid, scores, chosen, metric, seconds. The grid is in
        relative penalties, strongest first; a score is None where it is undefined.
    sharpness, shift
        What turns the outputs into logits, see :meth:`calibrated`.
    """

    weight: np.ndarray
    bias: np.ndarray
    held_out: np.ndarray
    score: float
    history: dict[str, Any]
    sharpness: float = 1.0
    shift: float = 0.0

    def calibrated(self) -> Solution:
        """The same head with outputs that are logits: their softmax or sigmoid means a probability."""
        return Solution(
            weight=self.weight * self.sharpness,
            bias=self.bias * self.sharpness + self.shift,
            held_out=self.held_out * self.sharpness + self.shift,
            score=self.score,
            history=self.history,
        )

    def into(self, head: nn.Module, task: Task) -> nn.Module:
        """Write it into a head, or into a new one where that is not linear; returns the one it stands in."""
        if not isinstance(head, nn.Linear):
            place = next(iter((*head.parameters(), *head.buffers())))
            head = task.head(self.weight.shape[1]).to(place.device)
        task.fill_head(head, torch.from_numpy(self.weight), torch.from_numpy(self.bias))
        return head


@dataclass(frozen=True)
class Labelled:
    """The rows that have a label."""

    rows: np.ndarray
    features: np.ndarray
    labels: np.ndarray

    def spread(self, values: np.ndarray, count: int) -> np.ndarray:
        """Values of the labelled rows back among all ``count`` rows, NaN elsewhere."""
        out = np.full((count, *values.shape[1:]), np.nan)
        out[self.rows] = values
        return out


def labelled(features: np.ndarray, labels: np.ndarray, task: Task) -> Labelled:
    """Leave out rows without a label; say what is wrong with what is left."""
    if features.ndim != 2 or len(features) != len(labels):
        raise UsageError(
            f"the head of output {task.spec.name!r} is solved from features (examples, width) with one label "
            f"each; found features {features.shape} and {len(labels)} labels"
        )
    rows = np.flatnonzero(task.present(labels))
    if len(rows) < 2:
        raise DataError(
            f"the head of output {task.spec.name!r} is solved from at least 2 labelled examples, "
            f"found {len(rows)}; label more of them"
        )
    chosen = features[rows].astype(np.float64)
    unusable = np.flatnonzero(~np.isfinite(chosen).all(axis=1))
    if len(unusable):
        raise DataError(
            f"the features of {len(unusable)} labelled examples are not finite, the first in row "
            f"{rows[unusable[0]]}; leave these examples out or look at what the source makes of them"
        )
    return Labelled(rows, chosen, labels[rows])


def penalties_of(grid: Sequence[float] | None) -> list[float]:
    """The grid, strongest penalty first. Raises :class:`UsageError` unless all are positive and finite."""
    values = sorted(DEFAULT_GRID if grid is None else grid, reverse=True)
    if not values or not all(0 < value < float("inf") for value in values):
        raise UsageError(f"a grid holds positive penalties, as in [0.01, 1, 100]; found {list(grid or [])}")
    return values


def best_position(scores: Sequence[float], higher_is_better: bool) -> int:
    """Position of the best score, NaN being worst; the first of equals, which has the strongest penalty."""
    worst = -np.inf if higher_is_better else np.inf
    values = np.where(np.isnan(scores), worst, scores)
    return int(np.argmax(values) if higher_is_better else np.argmin(values))


def history_line(
    solver: str, grid: Sequence[float], scores: Sequence[float], chosen: int, metric: str, seconds: float
) -> dict[str, Any]:
    """One line of ``history.jsonl``, without its stage."""
    return {
        "kind": "solve",
        "solver": solver,
        "grid": [float(value) for value in grid],
        "scores": [None if np.isnan(score) else float(score) for score in scores],
        "chosen": float(grid[chosen]),
        "metric": metric,
        "seconds": round(seconds, 4),
    }
