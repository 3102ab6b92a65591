"""The scale on which figures are compared: one where differences mean the same everywhere.

A share (accuracy, mean average precision) becomes its log-odds, an error minus its logarithm. Higher is
better on both, a step from 98 to 99% is as large as one from 50 to 67%, and intervals stay within 0 and 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from regraft.tasks import Metric

_TINY = 1e-12


@dataclass(frozen=True)
class Scale:
    """There and back.

    Attributes
    ----------
    share
        Whether the metric is a share.
    """

    share: bool

    @classmethod
    def of(cls, metric: Metric) -> Scale:
        """Shares are printed in percent, and higher is better; what is left are errors."""
        return cls(metric.percent and metric.higher_is_better)

    def forward(self, figures: np.ndarray | float, count: int) -> np.ndarray:
        """Figures of ``count`` examples on the scale; all right or all wrong counts half an example off."""
        values = np.asarray(figures, dtype=np.float64)
        if not self.share:
            return np.asarray(-np.log(np.maximum(values, _TINY)))
        half = 0.5 / max(count, 1)
        inside = np.clip(values, half, 1 - half)
        return np.asarray(np.log(inside / (1 - inside)))

    def back(self, values: np.ndarray | float) -> np.ndarray:
        """From the scale to figures."""
        from scipy.special import expit

        wide = np.asarray(values, dtype=np.float64)
        return np.asarray(expit(wide) if self.share else np.exp(-wide))
