"""A least-squares head: ridge regression over a whole grid of penalties by exact leave-one-out."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from regraft.core.linalg import decompose, leave_one_out, ridge_coefficients
from regraft.tasks import Task
from regraft.terms.solvers.base import Solution, best_position, history_line, labelled, penalties_of
from regraft.terms.solvers.temperature import fit_sharpness


def solve_ridge(
    features: np.ndarray, labels: np.ndarray, task: Task, grid: Sequence[float] | None = None
) -> Solution:
    """The ridge head whose leave-one-out predictions have the best deciding metric.

    Parameters
    ----------
    features
        ``Float[ndarray, "N D"]``.
    labels
        Of one output, encoded as TaskSpec says; rows without a label are left out.
    task
        The output's task.
    grid
        Relative penalties: lambda in multiples of the mean eigenvalue of the centred features' Gram matrix.
        Ties go to the stronger penalty.

    Returns
    -------
    Solution
        Outputs are least-squares fits to 0 and 1 (or to the labels of a regression), no logits:
        ``.calibrated()`` makes them logits, by a temperature fitted to the leave-one-out predictions.
    """
    start = time.perf_counter()
    metric = task.metrics[0]
    strengths = penalties_of(grid)
    rows = labelled(features, labels, task)
    regressand = task.regressand(rows.labels)
    parts = decompose(rows.features)
    predictions = leave_one_out(parts, regressand, [strength * parts.unit for strength in strengths])
    best, kept, scores = -1, regressand, []
    for prediction in predictions:
        scores.append(metric.compute(task.scores(prediction), rows.labels))
        if best_position(scores, metric.higher_is_better) != best:
            best, kept = best_position(scores, metric.higher_is_better), prediction
    weight, bias = ridge_coefficients(parts, regressand, strengths[best] * parts.unit)
    sharpness, shift = _calibration(kept, regressand, task)
    seconds = time.perf_counter() - start
    return Solution(
        weight=weight,
        bias=bias,
        held_out=rows.spread(kept, len(features)),
        score=scores[best],
        history=history_line("ridge", strengths, scores, best, metric.name, seconds),
        sharpness=sharpness,
        shift=shift,
    )


def _calibration(held_out: np.ndarray, truth: np.ndarray, task: Task) -> tuple[float, float]:
    if task.spec.kind == "regression":
        return 1.0, 0.0
    # Fits to 0 and 1 are undecided at one half for a label of its own; softmax does not mind a shift.
    exclusive = task.spec.kind != "multilabel"
    middle = 0.0 if exclusive else 0.5
    sharpness, _ = fit_sharpness((held_out - middle).T, truth.T, exclusive=exclusive)
    return sharpness, -middle * sharpness
