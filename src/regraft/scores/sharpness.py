"""The log-loss of outputs whose sharpness suits them, class by class number and block by block."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_RANGE = (1e-3, 1e3)  # a perfect or a useless predictor has no finite best sharpness
_STEPS = 60
_CLOSE = 1e-6  # Newton's next step would be its square
_BLOCK = 1 << 16  # numbers that are looked at together: they stay in the processor's cache


class Calibration:
    """Outputs of N examples for C classes, as logits of any sharpness.

    The formula is that of ``terms/solvers/temperature.py`` for exclusive classes, with which probes are
    calibrated; a test compares them. Here the truth is a class number, what does not depend on the sharpness
    is computed once, and examples are looked at in blocks.

    Parameters
    ----------
    outputs
        ``float64 (N, C)``, out of sample.
    codes
        ``int64 (N,)``: the classes.
    """

    def __init__(self, outputs: np.ndarray, codes: np.ndarray):
        self._outputs, self._count, self._classes = outputs, *outputs.shape
        self._true = outputs[np.arange(self._count), codes]
        self._top = outputs.max(axis=1)
        doubt = 1.0 / (self._count + 2)  # Platt 1999: without it, N hits of N ask for certainty
        softened = (1 - doubt) * self._true + doubt / self._classes * outputs.sum(axis=1)
        self._pull = float(softened.mean())

    def fit(self, start: float = 1.0) -> float:
        """The factor with the least log-loss against a truth that leaves room for one doubt among N."""
        low, high = _RANGE
        factor = min(max(start, low), high)
        for _ in range(_STEPS):
            slope, curve = self._derivatives(factor)
            low, high = (factor, high) if slope < 0 else (low, factor)
            step = factor - slope / curve if curve > 0 else -1.0
            # Far from the minimum the curve says little: halve the range of magnitudes instead.
            previous, factor = factor, step if low < step < high else float(np.sqrt(low * high))
            if abs(factor - previous) <= _CLOSE * previous:
                break
        return factor

    def log_loss(self, factor: float) -> float:
        """Mean log-loss of ``factor * outputs``."""
        total = 0.0
        for rows, powers in self._powers(factor):
            total += float((np.log(powers.sum(axis=1)) + factor * (self._top[rows] - self._true[rows])).sum())
        return total / self._count

    def _derivatives(self, factor: float) -> tuple[float, float]:
        slope = curve = 0.0
        for rows, powers in self._powers(factor):
            outputs = self._outputs[rows]
            weight = powers.sum(axis=1)
            powers *= outputs
            mean = powers.sum(axis=1) / weight
            slope += float(mean.sum())
            curve += float((np.einsum("ij,ij->i", powers, outputs) / weight - mean**2).sum())
        return slope / self._count - self._pull, curve / self._count

    def _powers(self, factor: float) -> Iterator[tuple[slice, np.ndarray]]:
        step = max(1, _BLOCK // self._classes)
        for first in range(0, self._count, step):
            rows = slice(first, first + step)
            powers = self._outputs[rows] - self._top[rows, None]
            powers *= factor
            yield rows, np.exp(powers, out=powers)
