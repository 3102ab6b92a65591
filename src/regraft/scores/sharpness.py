"""The log-loss of outputs whose sharpness suits them, class by class number and block by block."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_RANGE = (1e-3, 1e3)  # a perfect or a useless predictor has no finite best sharpness
_STEPS = 60
_CLOSE = 1e-4  # of a factor: the next of Newton's steps would be about its square
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
        true = outputs[np.arange(self._count), codes]
        self._truth = float(true.mean())
        self._top = outputs.max(axis=1)
        doubt = 1.0 / (self._count + 2)  # Platt 1999: without it, N hits of N ask for certainty
        softened = (1 - doubt) * true + doubt / self._classes * outputs.sum(axis=1)
        self._pull = float(softened.mean())

    def fit(self, start: float = 1.0) -> tuple[float, float]:
        """The factor with the least log-loss against a truth that leaves room for one doubt among N.

        Returns it, and the mean log-loss of the outputs times that factor against the truth itself.
        """
        low, high = _RANGE
        factor = min(max(start, low), high)
        for _ in range(_STEPS):
            loss, slope, curve = self._derivatives(factor)
            low, high = (factor, high) if slope < 0 else (low, factor)
            step = factor - slope / curve if curve > 0 else -1.0
            if abs(step - factor) <= _CLOSE * factor and _RANGE[0] <= step <= _RANGE[1]:
                # The next term of the series is below 1e-12: another look at all outputs would say no more.
                gap = step - factor
                return step, loss + (slope + self._pull - self._truth) * gap + curve * gap**2 / 2
            # Far from the minimum the curve says little: halve the range of magnitudes instead.
            previous, factor = factor, step if low < step < high else float(np.sqrt(low * high))
            if abs(factor - previous) <= 1e-9 * previous:
                break
        return factor, self._derivatives(factor)[0]

    def _derivatives(self, factor: float) -> tuple[float, float, float]:
        """Mean log-loss against the truth; first and second derivative of that against the softened one."""
        loss = slope = curve = 0.0
        for rows, powers in self._powers(factor):
            outputs = self._outputs[rows]
            weight = powers.sum(axis=1)
            loss += float(np.log(weight).sum())
            powers *= outputs
            mean = powers.sum(axis=1) / weight
            slope += float(mean.sum())
            curve += float((np.einsum("ij,ij->i", powers, outputs) / weight - mean**2).sum())
        count = self._count
        loss = loss / count + factor * (float(self._top.mean()) - self._truth)
        return loss, slope / count - self._pull, curve / count

    def _powers(self, factor: float) -> Iterator[tuple[slice, np.ndarray]]:
        step = max(1, _BLOCK // self._classes)
        for first in range(0, self._count, step):
            rows = slice(first, first + step)
            powers = self._outputs[rows] - self._top[rows, None]
            powers *= factor
            yield rows, np.exp(powers, out=powers)
