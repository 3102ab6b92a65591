"""centroid: the class whose training examples lie nearest on average, as a linear head."""

from __future__ import annotations

import time

import numpy as np

from regraft.core.errors import UsageError
from regraft.tasks import Task
from regraft.terms.solvers.base import Solution, labelled
from regraft.terms.solvers.temperature import fit_sharpness


def solve_centroid(features: np.ndarray, labels: np.ndarray, task: Task) -> Solution:
    """The nearest class mean: ``argmin_c |x - m_c|^2``, as logits ``b (2 m_c . x - |m_c|^2)``.

    What all classes share, ``|x|^2``, is left out, so the head is linear. Of labels of their own each has two
    means, that of the examples with it and that of those without: ``b (|x - m_0|^2 - |x - m_1|^2)``, linear
    too. The sharpness b is fitted to the leave-one-out outputs, which are exact: without one of the n
    examples of a class the distance to their mean is n / (n - 1) times as long. For outputs with classes:
    binary, multiclass and multilabel.

    Sources: Mensink et al. (2013), "Distance-based image classification: generalizing to new classes at
    near-zero cost"; as prototypes Snell et al. (2017), eq. 2 and 8.

    Parameters
    ----------
    features
        ``Float[ndarray, "N D"]``.
    labels
        Of one output with classes, encoded as TaskSpec says; rows without a label are left out.
    task
        The output's task.
    """
    start = time.perf_counter()
    if task.spec.kind == "regression":
        raise UsageError(
            f"output {task.spec.name!r} is a regression and has no class means; solve it with ridge or knn"
        )
    rows = labelled(features, labels, task)
    middle = rows.features.mean(0)  # no distance depends on it, rounding does
    moved, truth = rows.features - middle, task.regressand(rows.labels)
    fit = _several if task.spec.kind == "multilabel" else _exclusive
    weight, bias, held_out = fit(moved, truth)
    known = np.isfinite(held_out).all(1)
    sharpness, metric = 1.0, task.metrics[0]
    score = float("nan")
    if known.any():
        exclusive = task.spec.kind != "multilabel"
        sharpness, _ = fit_sharpness(held_out[known].T, truth[known].T, exclusive=exclusive)
        score = metric.compute(task.scores(held_out[known]), rows.labels[known])
    return Solution(
        weight=weight,
        bias=bias - weight @ middle,
        held_out=rows.spread(held_out, len(features)),
        score=score,
        sharpness=sharpness,
        history={
            "kind": "solve",
            "solver": "centroid",
            "grid": [],
            "scores": [None if np.isnan(score) else float(score)],
            "chosen": None,
            "metric": metric.name,
            "seconds": round(time.perf_counter() - start, 4),
        },
    )


def _exclusive(x: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weight, bias and leave-one-out outputs; a class without an example is further off than any example.

    The only example of a class is never held out: NaN.
    """
    counts = truth.sum(0)
    means = (truth.T @ x) / np.maximum(counts, 1)[:, None]
    weight, bias = 2 * means, -(means**2).sum(1)
    far = float((((x - means[truth.argmax(1)]) ** 2).sum(1)).max()) if len(x) else 0.0
    bias[counts == 0] = -4 * ((x**2).sum(1).max() + far) - 1
    outputs = x @ weight.T + bias
    own = truth.astype(bool)
    outputs[own] = _without_own(x, (truth @ means), truth @ counts)
    return weight, bias, outputs


def _several(x: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same with two means for each label; what all examples have, or none, is given to all or none."""
    with_it, without = truth.sum(0), (1 - truth).sum(0)
    ones = (truth.T @ x) / np.maximum(with_it, 1)[:, None]
    zeros = ((1 - truth).T @ x) / np.maximum(without, 1)[:, None]
    both = (with_it > 0) & (without > 0)
    weight = np.where(both[:, None], 2 * (ones - zeros), 0.0)
    always = (4 * (x**2).sum(1).max() + 1) * np.where(with_it > 0, 1.0, -1.0)
    bias = np.where(both, (zeros**2).sum(1) - (ones**2).sum(1), always)
    outputs = x @ weight.T + bias
    for label in np.flatnonzero(both):
        has = truth[:, label] > 0
        for mine, sign, mean, count in (
            (has, 1, ones[label], with_it[label]),
            (~has, -1, zeros[label], without[label]),
        ):
            own = (x[mine] @ (2 * mean)) - mean @ mean
            held = _without_own(x[mine], np.broadcast_to(mean, x[mine].shape), np.full(mine.sum(), count))
            outputs[mine, label] += sign * (held - own)
    return weight, bias, outputs


def _without_own(x: np.ndarray, means: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """``2 m . x - |m|^2`` for the mean of each example's class without the example itself; NaN of one."""
    alone = counts < 2
    stretch = counts / np.where(alone, np.nan, counts - 1)
    return np.asarray((x**2).sum(1) - stretch**2 * ((x - means) ** 2).sum(1))
