"""Temperature: the one number that turns outputs into logits whose probabilities mean something.

Guo et al. 2017, "On Calibration of Modern Neural Networks", with the inverse temperature, called sharpness.
"""

from __future__ import annotations

import numpy as np

_RANGE = (1e-3, 1e3)  # a perfect or a useless predictor has no finite best sharpness
_STEPS = 60


def fit_sharpness(outputs: np.ndarray, truth: np.ndarray, *, exclusive: bool) -> tuple[float, float]:
    """The positive factor with the least mean log-loss of ``factor * outputs``, and that log-loss.

    The factor is sought against a truth that leaves room for one doubt among N. The log-loss is convex in the
    factor: safeguarded Newton steps find the only minimum. It is positive, so the order of the classes never
    changes.

    Parameters
    ----------
    outputs
        ``float64 (K, N)``, out of sample.
    truth
        ``float64 (K, N)`` of 0 and 1.
    exclusive
        Softmax over the classes if true, a sigmoid for each otherwise.
    """
    low, high = _RANGE
    factor, softened = 1.0, _soften(truth, exclusive)
    for _ in range(_STEPS):
        _, slope, curve = _log_loss(outputs, softened, factor, exclusive)
        low, high = (factor, high) if slope < 0 else (low, factor)
        step = factor - slope / curve if curve > 0 else -1.0
        # Far from the minimum the curve says little: halve the range of magnitudes instead.
        following = step if low < step < high else float(np.sqrt(low * high))
        if abs(following - factor) <= 1e-9 * factor:
            break
        factor = following
    return factor, _log_loss(outputs, truth, factor, exclusive)[0]


def _soften(truth: np.ndarray, exclusive: bool) -> np.ndarray:
    """The truth as N examples let one believe it (Platt 1999): without it, N hits of N ask for certainty."""
    doubt = 1.0 / (truth.shape[1] + 2)
    share = 1.0 / len(truth) if exclusive else 0.5
    return np.asarray((1 - doubt) * truth + doubt * share)


def _log_loss(
    outputs: np.ndarray, truth: np.ndarray, factor: float, exclusive: bool
) -> tuple[float, float, float]:
    """Mean log-loss, and its first and second derivative in the factor."""
    z = factor * outputs
    if exclusive:
        top = z.max(axis=0)
        powers = np.exp(z - top)
        total = powers.sum(axis=0)
        p = powers / total
        loss = (top + np.log(total) - (truth * z).sum(axis=0)).mean()
        mean = (p * outputs).sum(axis=0)
        curve = ((p * outputs**2).sum(axis=0) - mean**2).mean()
        return float(loss), float((mean - (truth * outputs).sum(axis=0)).mean()), float(curve)
    p = 0.5 * (1 + np.tanh(0.5 * z))
    loss = (np.logaddexp(0, z) - truth * z).mean()
    return float(loss), float(((p - truth) * outputs).mean()), float((p * (1 - p) * outputs**2).mean())
