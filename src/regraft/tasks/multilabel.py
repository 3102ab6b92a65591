"""Any number of the classes at once: a sigmoid for each."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from regraft.tasks.metrics import EXACT_MATCH, MACRO_F1, MEAN_AVERAGE_PRECISION, ROC_AUC
from regraft.tasks.task import Metric, Task

THRESHOLD = 0.5


class MultiLabel(Task):
    """Labels are rows of 0 and 1, NaN where missing; a row that holds any NaN counts as missing."""

    @property
    def outputs(self) -> int:
        """One logit per class."""
        return len(self.spec.classes)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Mean average precision decides."""
        return (MEAN_AVERAGE_PRECISION, MACRO_F1, ROC_AUC, EXACT_MATCH)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Binary cross-entropy of each example, mean over classes."""
        missing = labels.isnan().any(dim=1)
        # NaN times zero is NaN: missing rows get a label before the loss and lose it after.
        known = torch.where(missing[:, None], torch.zeros_like(labels), labels).to(logits.dtype)
        losses = functional.binary_cross_entropy_with_logits(logits, known, reduction="none").mean(dim=1)
        return losses.masked_fill(missing, 0.0)

    def regressand(self, labels: np.ndarray) -> np.ndarray:
        """The rows of 0 and 1."""
        return labels.astype(np.float64)

    def scores(self, logits: np.ndarray) -> np.ndarray:
        """Sigmoid, in float64."""
        from scipy.special import expit

        return np.asarray(expit(logits.astype(np.float64)))

    def decode(self, scores: np.ndarray) -> list[dict[str, Any]]:
        """The classes at least 50% probable and the probability of each."""
        return [self._decode(row) for row in scores.tolist()]

    def _decode(self, row: list[float]) -> dict[str, Any]:
        pairs = list(zip(self.spec.classes, row, strict=True))
        labels = [name for name, share in pairs if share >= THRESHOLD]
        return {"task": self.spec.kind, "labels": labels, "probabilities": dict(pairs)}

    def present(self, labels: np.ndarray) -> np.ndarray:
        """Where no entry of the row is NaN."""
        return np.asarray(~np.isnan(labels).any(axis=1))

    def per_example(self, scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Share of the classes that are right at the threshold, a stand-in for mean average precision."""
        right = (scores >= THRESHOLD) == (labels >= 0.5)
        return np.asarray(right.mean(axis=1, dtype=np.float64))
