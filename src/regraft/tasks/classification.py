"""One of several classes: softmax over as many logits as there are classes, two for a binary task."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor
from torch.nn import functional

from regraft.tasks.metrics import ACCURACY, BALANCED_ACCURACY, MACRO_F1, ROC_AUC, hits
from regraft.tasks.task import Metric, Task

MISSING = -1


class Classification(Task):
    """Binary and multi-class tasks; labels are class indices, -1 where missing."""

    @property
    def outputs(self) -> int:
        """One logit per class."""
        return len(self.spec.classes)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Accuracy decides."""
        return (ACCURACY, BALANCED_ACCURACY, MACRO_F1, ROC_AUC)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of each example."""
        return functional.cross_entropy(logits, labels.long(), ignore_index=MISSING, reduction="none")

    def regressand(self, labels: np.ndarray) -> np.ndarray:
        """One-hot rows."""
        return np.asarray(np.eye(self.outputs)[labels])

    def scores(self, logits: np.ndarray) -> np.ndarray:
        """Softmax, in float64."""
        shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
        powers = np.exp(shifted)
        return np.asarray(powers / powers.sum(1, keepdims=True))

    def decode(self, scores: np.ndarray) -> list[dict[str, Any]]:
        """The most probable class and the probability of each."""
        return [self._decode(row) for row in scores.tolist()]

    def _decode(self, row: list[float]) -> dict[str, Any]:
        label = self.spec.classes[int(np.argmax(row))]
        return {
            "task": self.spec.kind,
            "label": label,
            "probabilities": dict(zip(self.spec.classes, row, strict=True)),
        }

    def present(self, labels: np.ndarray) -> np.ndarray:
        """Where the label is not -1."""
        return np.asarray(labels != MISSING)

    def per_example(self, scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """1 for a hit, 0 for a miss."""
        return hits(scores, labels)
