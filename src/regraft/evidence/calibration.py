"""Calibration: do probabilities come true? How far from it, and how much of that is only few examples.

A classifier is calibrated where, among all predictions of confidence p, the fraction p is right. The gap is
estimated in bins; with few examples bins differ from the truth by chance alone, so that the plain estimate is
too high (Roelofs et al. 2022, "Mitigating bias in calibration error estimation"). A debiased one stands
beside it, and what a perfectly calibrated model would show on as many examples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from regraft.evidence.reliability import Bins, equal_mass, equal_width, gap, gap_if_true, gap_interval
from regraft.tasks import Task

_TINY = 1e-12


@dataclass(frozen=True)
class Temperature:
    """By what the logits of an output were divided, or might be.

    Attributes
    ----------
    value
        T in ``softmax(z / T)``.
    applied
        Whether the model's probabilities are those after it; else it is told only what it would change.
    examples
        How many validation examples it was fitted to.
    """

    value: float
    applied: bool
    examples: int


def calibration(
    task: Task, scores: np.ndarray, labels: np.ndarray, temperature: Temperature | None = None
) -> dict[str, Any] | None:
    """How true an output's probabilities are, as JSON; None for an output without classes or examples.

    Parameters
    ----------
    scores, labels
        Decoded scores and labels of examples that have one.
    temperature
        Adds ``before`` and ``after``: the same figures without it and with it.

    Returns
    -------
    dict
        ``model``: the figures of :func:`figures` for the scores as they are; ``temperature``: its value,
        whether it is ``applied``, and the figures ``before`` and ``after``, or None.
    """
    if task.spec.kind == "regression" or len(labels) < 2:
        return None
    own = figures(task, scores, labels)
    return {"model": own, "temperature": _both_sides(task, scores, labels, temperature, own)}


def _both_sides(
    task: Task, scores: np.ndarray, labels: np.ndarray, temperature: Temperature | None, own: dict[str, Any]
) -> dict[str, Any] | None:
    if temperature is None:
        return None
    factor = temperature.value if temperature.applied else 1 / temperature.value
    other = figures(task, sharpened(task, scores, factor), labels)
    before, after = (other, own) if temperature.applied else (own, other)
    told = {"value": temperature.value, "applied": temperature.applied, "examples": temperature.examples}
    return {**told, "before": before, "after": after}


def sharpened(task: Task, scores: np.ndarray, factor: float) -> np.ndarray:
    """Probabilities whose logits are ``factor`` times those of ``scores``."""
    p = np.clip(scores.astype(np.float64), np.finfo(np.float64).tiny, 1.0)
    if task.spec.kind == "multilabel":
        logits = np.log(p) - np.log(np.clip(1 - p, _TINY, 1.0))
        return np.asarray(0.5 * (1 + np.tanh(0.5 * factor * logits)))
    powers = np.log(p) * factor
    powers = np.exp(powers - powers.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def figures(task: Task, scores: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Calibration errors in two kinds of bins, log-loss and Brier score, and the bins themselves.

    ``nll`` is the mean of -ln p(label); ``brier`` the mean squared distance of the probabilities from the
    truth, summed over classes and halved for two exclusive ones (scikit-learn's convention). Of a multi-label
    output every class of every example is a prediction of its own, and both are means over them.
    """
    confidence, right = claims(task, scores, labels)
    wide, even = equal_width(confidence), equal_mass(confidence)
    return {
        "ece_equal_width": _error(wide, confidence, right),
        "ece_equal_mass": _error(even, confidence, right),
        "nll": _log_loss(task, scores, labels),
        "brier": _brier(task, scores, labels),
        "reliability": even.to_json(confidence, right),
    }


def claims(task: Task, scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is claimed with which probability, ``float64 (N, M)``, and whether it is so, 1 or 0.

    Of exclusive classes the most probable one (M = 1); of several labels each (M classes).
    """
    if task.spec.kind == "multilabel":
        return scores.astype(np.float64), (labels >= 0.5).astype(np.float64)
    hit = (scores.argmax(1) == labels).astype(np.float64)
    return scores.max(1).astype(np.float64)[:, None], hit[:, None]


def _error(bins: Bins, confidence: np.ndarray, right: np.ndarray) -> dict[str, Any]:
    plain, debiased = gap(bins, confidence, right)
    low, high = gap_interval(bins, confidence, right)
    draws = gap_if_true(bins, confidence)
    most = float(np.quantile(draws, 0.95))
    return {
        "value": plain,
        "debiased": debiased,
        "low": 0.0 if plain <= most else low,  # an error of 0 is not ruled out
        "high": high,
        "bins": bins.count,
        "if_calibrated": {"mean": float(draws.mean()), "high": most},
    }


def _log_loss(task: Task, scores: np.ndarray, labels: np.ndarray) -> float:
    if task.spec.kind == "multilabel":
        of_truth = np.where(labels >= 0.5, scores, 1 - scores)
    else:
        of_truth = scores[np.arange(len(labels)), labels]
    return float(-np.log(np.clip(of_truth, _TINY, 1.0)).mean())


def _brier(task: Task, scores: np.ndarray, labels: np.ndarray) -> float:
    if task.spec.kind == "multilabel":
        return float(np.square(scores - (labels >= 0.5)).mean())
    truth = np.eye(scores.shape[1])[labels]
    total = float(np.square(scores - truth).sum(1).mean())
    return total / 2 if scores.shape[1] == 2 else total
