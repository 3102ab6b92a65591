"""A logistic head: multinomial logistic regression, its penalty chosen along a grid by cross-validation."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from regraft.core.errors import UsageError
from regraft.core.linalg import Decomposition, decompose
from regraft.core.randomness import numpy_generator
from regraft.tasks import Task
from regraft.terms.solvers.base import Labelled, Solution, best_position, history_line, labelled, penalties_of
from regraft.terms.solvers.convex import LogisticProblems, minimise
from regraft.terms.solvers.temperature import fit_sharpness

_ROUGH, _FINE = 1e-5, 1e-16  # what is left to gain per example, in nats, while choosing and at the end
_PATIENCE = 3  # weaker penalties without a better log-loss before the path ends
_LOOSE_BIAS = 1e-6  # share of the penalty on a sigmoid's bias: one without a counter-example has no minimum
_BLOCK = 1 << 25  # numbers in the logits of the folds that are solved together, to bound memory


def solve_logistic(
    features: np.ndarray,
    labels: np.ndarray,
    task: Task,
    grid: Sequence[float] | None = None,
    *,
    folds: int = 5,
    seed: int = 0,
) -> Solution:
    """The logistic head whose penalty has the least stratified cross-validated log-loss, fitted to all rows.

    That log-loss is taken at the best temperature: a strong penalty makes logits small, which
    ``.calibrated()`` mends, and would else be passed over although its classes are right more often.

    The objective is the summed log-loss plus half of lambda times the squared weights of standardised
    features; the bias is not penalised. The path starts at the strongest penalty, each fit from the last,
    and ends when three weaker penalties in a row were no better: the history holds those that were tried.
    The same numbers come out bit for bit for an equal number of threads.

    Parameters
    ----------
    features
        ``Float[ndarray, "N D"]``, standardised inside; weight and bias are for features as they came.
    labels
        Of one output with classes, encoded as TaskSpec says; rows without a label are left out.
    task
        The output's task; one sigmoid for each class if it is multi-label.
    grid
        Relative penalties: lambda in multiples of the mean eigenvalue of the standardised features' Gram
        matrix. Ties go to the stronger penalty.
    folds
        At most this many; a class with fewer examples is spread over as many as it has, and the only example
        of a class is never held out.
    seed
        Of the folds.
    """
    start = time.perf_counter()
    if task.spec.kind == "regression":
        raise UsageError(
            f"output {task.spec.name!r} is a regression and has no logistic head; solve it with ridge"
        )
    strengths = penalties_of(grid)
    rows = labelled(features, labels, task)
    spread = rows.features.std(axis=0)
    # What rounding leaves of a column of equal numbers must not be blown up to a feature.
    useful = spread > 1e-12 * np.abs(rows.features).max(axis=0)
    spread = np.where(useful, spread, 1.0)
    parts = decompose(rows.features * useful / spread)
    truth = task.regressand(rows.labels)
    seen = np.asarray(truth.any(axis=0) | (not _exclusive(task)))
    problem = _problem(parts, truth[:, seen], _exclusive(task))
    path = _walk(problem, parts, strengths, _folds(rows, truth, folds, seed, task))
    final = minimise(problem, strengths[path.best] * parts.unit, path.start, tolerance=_FINE)
    weight, bias = _in_features(final.parameters[:, 0], parts, useful, spread)
    weight, bias = _with_unseen(weight, bias, final.logits[:, 0], seen)
    held_out = np.full(truth.shape, np.nan)
    held_out[:, seen] = path.held_out.T
    # A class without an example stays improbable out of sample too.
    held_out[:, ~seen] = bias[~seen]
    seconds = time.perf_counter() - start
    return Solution(
        weight=weight,
        bias=bias,
        held_out=rows.spread(held_out, len(features)),
        score=path.scores[path.best],
        sharpness=path.sharpness,
        history=history_line(
            "logistic", strengths[: len(path.scores)], path.scores, path.best, "log-loss", seconds
        ),
    )


def _exclusive(task: Task) -> bool:
    return task.spec.kind != "multilabel"


def _problem(parts: Decomposition, truth: np.ndarray, exclusive: bool) -> LogisticProblems:
    ones = np.ones((parts.count, 1))
    return LogisticProblems(
        examples=np.concatenate([parts.components(), ones], axis=1),
        curvature=np.append(parts.s, parts.count),
        truth=np.ascontiguousarray(truth.T)[:, None, :],
        learns=np.ones((1, parts.count)),
        penalised=np.append(np.ones(parts.rank), 0.0 if exclusive else _LOOSE_BIAS),
        exclusive=exclusive,
    )


def _folds(rows: Labelled, truth: np.ndarray, folds: int, seed: int, task: Task) -> np.ndarray:
    """The fold that holds each row out, -1 for rows that never are."""
    random = numpy_generator(seed, "logistic folds")
    order = random.permutation(len(truth))
    groups = [order]
    if _exclusive(task):
        groups = [order[rows.labels[order] == label] for label in range(truth.shape[1])]
    spare = [group for group in groups if len(group) > 1]
    out = np.full(len(truth), -1)
    if spare:
        together = np.concatenate(spare)
        # Dealt out like cards, class after class: every class and every fold gets its share.
        out[together] = np.arange(len(together)) % min(folds, max(len(group) for group in spare))
    return out


@dataclass(frozen=True)
class _Path:
    """What cross-validation found: scores along the path; the best, its held-out logits, their sharpness and
    a warm start.
    """

    scores: list[float]
    best: int
    held_out: np.ndarray
    sharpness: float
    start: np.ndarray


def _walk(problem: LogisticProblems, parts: Decomposition, strengths: list[float], fold: np.ndarray) -> _Path:
    held = np.flatnonzero(fold >= 0)
    empty = np.full((len(problem.truth), parts.count), np.nan)
    if len(held) == 0:
        middle = int(np.argmin(np.abs(np.log(strengths))))
        return _Path([float("nan")] * len(strengths), middle, empty, 1.0, problem.start)
    groups = _groups(problem, fold)
    starts = [group.start for group in groups]
    scores: list[float] = []
    best, kept, sharpness, warm = 0, empty, 1.0, problem.start
    for strength in strengths:
        logits = empty.copy()
        for number, group in enumerate(groups):
            found = minimise(group, strength * parts.unit, starts[number], tolerance=_ROUGH)
            starts[number] = found.parameters
            _collect(logits, found.logits, group.learns)
        factor, loss = fit_sharpness(logits[:, held], problem.truth[:, 0, held], exclusive=problem.exclusive)
        scores.append(loss)
        if best_position(scores, higher_is_better=False) == len(scores) - 1:
            best, kept, sharpness = len(scores) - 1, logits, factor
            warm = np.concatenate(starts, axis=1).mean(axis=1, keepdims=True).astype(np.float64)
        elif len(scores) - 1 - best >= _PATIENCE:
            break
    return _Path(scores, best, kept, sharpness, warm)


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


def _collect(logits: np.ndarray, found: np.ndarray, learns: np.ndarray) -> None:
    for number, row in enumerate(learns):
        out = row == 0
        logits[:, out] = found[:, number, out]


def _in_features(
    parameters: np.ndarray, parts: Decomposition, useful: np.ndarray, spread: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """From principal components of standardised features back to features as they came."""
    weight = parameters[:, :-1] @ parts.V.T
    bias = parameters[:, -1] - weight @ parts.mean
    return weight * useful / spread, bias


def _with_unseen(
    weight: np.ndarray, bias: np.ndarray, logits: np.ndarray, seen: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Classes without an example get half an example's share of the probability, whatever the features."""
    if seen.all():
        return weight, bias
    count = logits.shape[1]
    top = logits.max(axis=0)
    total = float((top + np.log(np.exp(logits - top).sum(axis=0))).mean())
    wide = np.zeros((len(seen), weight.shape[1]))
    wide[seen] = weight
    biases = np.full(len(seen), total + np.log(0.5 / count))
    biases[seen] = bias
    return wide, biases
