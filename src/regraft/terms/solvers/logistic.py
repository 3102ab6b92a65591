"""A logistic head: multinomial logistic regression, its penalty chosen along a grid by cross-validation."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from regraft.core.errors import UsageError
from regraft.core.linalg import Decomposition, decompose
from regraft.tasks import Task
from regraft.terms.solvers.base import Solution, best_position, history_line, labelled, penalties_of
from regraft.terms.solvers.convex import LogisticProblems, minimise
from regraft.terms.solvers.folds import deal_folds, walk
from regraft.terms.solvers.temperature import fit_sharpness

_FINE = 1e-14  # what is left to gain per example, in nats, at the end
_LOOSE_BIAS = 1e-6  # share of the penalty on a sigmoid's bias: one without a counter-example has no minimum


def solve_logistic(
    features: np.ndarray,
    labels: np.ndarray,
    task: Task,
    grid: Sequence[float] | None = None,
    *,
    folds: int = 5,
    seed: int = 0,
    patience: int = 3,
) -> Solution:
    """The logistic head whose penalty has the least stratified cross-validated log-loss, fitted to all rows.

    That log-loss is taken at the best temperature: a strong penalty makes logits small, which
    ``.calibrated()`` mends, and would else be passed over although its classes are right more often.

    The objective is the summed log-loss plus half of lambda times the squared weights of standardised
    features; the bias is not penalised. The path starts at the strongest penalty, each fit from the last,
    and ends when ``patience`` weaker penalties in a row were no better: the history holds those that were
    tried. The folds are solved together along the path, each as far as scikit-learn would solve it or
    further. The same numbers come out bit for bit for an equal number of threads.

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
    patience
        Weaker penalties without a better log-loss before the path ends; with as many as the grid has, all of
        it is walked.
    """
    start = time.perf_counter()
    if task.spec.kind == "regression":
        raise UsageError(
            f"output {task.spec.name!r} is a regression and has no logistic head; solve it with ridge"
        )
    strengths = penalties_of(grid)
    rows = labelled(features, labels, task)
    standard = standardise(rows.features)
    parts = standard.parts
    truth = task.regressand(rows.labels)
    seen = np.asarray(truth.any(axis=0) | (not _exclusive(task)))
    problem = logistic_problem(parts, truth[:, seen], exclusive=_exclusive(task))
    kinds = rows.labels if _exclusive(task) else np.zeros(len(truth), np.int64)
    path = _choose(problem, parts, strengths, deal_folds(kinds, folds, seed=seed), patience)
    final = minimise(problem, strengths[path.best] * parts.unit, path.start, tolerance=_FINE)
    weight, bias = standard.in_features(final.parameters[0])
    weight, bias = _with_unseen(weight, bias, final.logits[0], seen)
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


@dataclass(frozen=True)
class Standard:
    """Standardised features in their principal axes, and the way back.

    Attributes
    ----------
    parts
        Decomposition of the standardised features.
    useful, spread
        ``(D,)``: which features vary, and by how much (1 where they do not).
    """

    parts: Decomposition
    useful: np.ndarray
    spread: np.ndarray

    def in_features(self, parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weight ``(K, D)`` and bias ``(K,)`` for features as they came, from parameters ``(K, R+1)``."""
        weight = parameters[:, :-1] @ self.parts.V.T
        bias = parameters[:, -1] - weight @ self.parts.mean
        return weight * self.useful / self.spread, bias


def standardise(features: np.ndarray) -> Standard:
    """Features of mean 0 and variance 1, decomposed; those that do not vary become 0."""
    spread = features.std(axis=0)
    # What rounding leaves of a column of equal numbers must not be blown up to a feature.
    useful = spread > 1e-12 * np.abs(features).max(axis=0)
    spread = np.where(useful, spread, 1.0)
    return Standard(decompose(features * useful / spread), useful, spread)


def _exclusive(task: Task) -> bool:
    return task.spec.kind != "multilabel"


def logistic_problem(parts: Decomposition, truth: np.ndarray, *, exclusive: bool) -> LogisticProblems:
    """One problem that learns from all examples; ``truth`` is ``(N, K)`` of 0 and 1."""
    ones = np.ones((parts.count, 1))
    return LogisticProblems(
        examples=np.concatenate([parts.components(), ones], axis=1),
        curvature=np.append(parts.s, parts.count),
        truth=np.ascontiguousarray(truth.T),
        learns=np.ones((1, parts.count)),
        penalised=np.append(np.ones(parts.rank), 0.0 if exclusive else _LOOSE_BIAS),
        exclusive=exclusive,
    )


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


def _choose(
    problem: LogisticProblems, parts: Decomposition, strengths: list[float], fold: np.ndarray, patience: int
) -> _Path:
    held = np.flatnonzero(fold >= 0)
    if len(held) == 0:
        middle = int(np.argmin(np.abs(np.log(strengths))))
        empty = np.full((len(problem.truth), parts.count), np.nan)
        return _Path([float("nan")] * len(strengths), middle, empty, 1.0, problem.start)
    scores: list[float] = []
    best: _Path | None = None
    for fits in walk(problem, [strength * parts.unit for strength in strengths], fold):
        truth = problem.truth[:, held]
        factor, loss = fit_sharpness(fits.held_out[:, held], truth, exclusive=problem.exclusive)
        scores.append(loss)
        latest = len(scores) - 1
        if best is None or best_position(scores, higher_is_better=False) == latest:
            warm = fits.parameters.mean(axis=0, keepdims=True).astype(np.float64)
            best = _Path(scores, latest, fits.held_out, factor, warm)
        elif latest - best.best >= patience:
            break
    assert best is not None
    return best


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
