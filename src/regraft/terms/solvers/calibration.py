"""temperature: a trained head's logits, divided by the number that makes their probabilities true."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from regraft.core.errors import UsageError
from regraft.tasks import Task
from regraft.terms.solvers.temperature import fit_sharpness


@dataclass(frozen=True)
class Calibration:
    """By what a head's logits are multiplied (1 / temperature), and a line of the run's history."""

    sharpness: float
    history: dict[str, Any]


def solve_temperature(outputs: np.ndarray, labels: np.ndarray, task: Task) -> Calibration:
    """The temperature with the least log-loss on examples that the head was not fitted to.

    ``p = softmax(z / T)``, or a sigmoid for each label; the order of the classes does not change. For outputs
    with classes: binary, multiclass and multilabel.

    Source: Guo et al. (2017), "On calibration of modern neural networks", section 4.2. Changed for small
    data: against a truth that leaves room for one doubt among N (Platt 1999), since few examples that are all
    right would ask for certainty.

    Parameters
    ----------
    outputs
        Logits, ``Float[ndarray, "N K"]``.
    labels
        Of one output with classes, encoded as TaskSpec says; rows without a label are left out. Where no row
        has one the logits stay as they are.
    task
        The output's task.
    """
    start = time.perf_counter()
    if task.spec.kind == "regression":
        raise UsageError(
            f"output {task.spec.name!r} is a regression and has no temperature: name the outputs that have, "
            "as in --set outputs=[label]"
        )
    known = task.present(labels)
    logits, present = outputs[known].astype(np.float64), labels[known]
    sharpness = 1.0
    losses: list[float | None] = [None, None]
    if len(present):
        truth = task.regressand(present)
        sharpness, _ = fit_sharpness(logits.T, truth.T, exclusive=task.spec.kind != "multilabel")
        losses = [_loss(factor * logits, present, task) for factor in (1.0, sharpness)]
    line = {
        "kind": "solve",
        "solver": "temperature",
        "grid": [1.0, 1 / sharpness],
        "scores": losses,
        "chosen": 1 / sharpness,
        "metric": "log-loss",
        "across": "temperature",
        "examples": len(present),
        "seconds": round(time.perf_counter() - start, 4),
    }
    return Calibration(sharpness, line)


def _loss(logits: np.ndarray, labels: np.ndarray, task: Task) -> float:
    """The task's own mean loss."""
    return float(task.loss(torch.from_numpy(logits), torch.from_numpy(labels)).double().mean())
