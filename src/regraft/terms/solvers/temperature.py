"""Temperature: the one number that turns outputs into logits whose probabilities mean something.

Guo et al. 2017, "On Calibration of Modern Neural Networks", with the inverse temperature, called sharpness.
"""

from __future__ import annotations

import numpy as np

from regraft.tasks import Task

_RANGE = (1e-3, 1e3)  # a perfect or a useless predictor has no finite best sharpness


def fit_sharpness(outputs: np.ndarray, labels: np.ndarray, task: Task) -> float:
    """The positive factor with the least mean log-loss of ``factor * outputs``.

    ``outputs`` are ``(N, K)``, out of sample. The log-loss is convex in the factor, so a bounded search finds
    the only minimum; positive, so that the order of the classes never changes.
    """
    import torch
    from scipy.optimize import minimize_scalar

    logits, truth = (
        torch.from_numpy(np.ascontiguousarray(outputs, dtype=np.float64)),
        torch.from_numpy(labels),
    )

    def log_loss(exponent: float) -> float:
        return float(task.loss(logits * float(np.exp(exponent)), truth).mean())

    low, high = np.log(_RANGE)
    found = minimize_scalar(log_loss, bounds=(low, high), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))
