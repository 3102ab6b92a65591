"""A number: squared error in units of the training labels' spread, values in the labels' own unit."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from regraft.core.task_spec import TaskSpec
from regraft.tasks.metrics import MAE, R_SQUARED, RMSE, squared_errors
from regraft.tasks.task import Metric, Task, zero_initialised


class RegressionHead(nn.Linear):
    """A linear layer that works on standardised labels and answers in the labels' own unit.

    The buffers ``centre`` and ``scale`` travel with the weights, so a saved head needs no other note of them.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, width: int, centre: float, scale: float):
        super().__init__(width, 1)
        device = self.weight.device
        self.register_buffer("centre", torch.tensor([centre], dtype=torch.float32, device=device))
        self.register_buffer("scale", torch.tensor([scale], dtype=torch.float32, device=device))

    def forward(self, features: Tensor) -> Tensor:
        """Values ``Float[Tensor, "batch 1"]`` in the labels' own unit."""
        return super().forward(features) * self.scale + self.centre


class Regression(Task):
    """Labels are numbers, NaN where missing.

    Parameters
    ----------
    spec
        The output.
    centre, scale
        Mean and standard deviation of the training labels, see :meth:`fitted`.
    """

    def __init__(self, spec: TaskSpec, centre: float = 0.0, scale: float = 1.0):
        super().__init__(spec)
        self.centre = centre
        self.scale = scale

    @property
    def outputs(self) -> int:
        """One value."""
        return 1

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The root of the mean squared error decides."""
        return (RMSE, R_SQUARED, MAE)

    def fitted(self, labels: np.ndarray) -> Regression:
        """The task with the centre and scale of these labels (missing ones left out)."""
        known = labels[self.present(labels)].astype(np.float64)
        if len(known) == 0:
            return self
        return Regression(self.spec, float(known.mean()), float(known.std()) or 1.0)

    def head(self, width: int) -> RegressionHead:
        """A head that at first answers the mean of the training labels."""
        head = RegressionHead(width, self.centre, self.scale)
        zero_initialised(head)
        return head

    def fill_head(self, head: nn.Linear, weight: Tensor, bias: Tensor) -> None:
        """Write a solution given in the labels' own unit."""
        assert isinstance(head, RegressionHead)
        scale, centre = head.scale.double(), head.centre.double()
        super().fill_head(head, weight.double() / scale[:, None], (bias.double() - centre) / scale)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Squared error of each example in units of the training labels' variance."""
        values = logits[:, 0]
        missing = labels.isnan()
        known = torch.where(missing, torch.zeros_like(labels), labels).to(values.dtype)
        return ((values - known) / self.scale).square().masked_fill(missing, 0.0)

    def regressand(self, labels: np.ndarray) -> np.ndarray:
        """The labels as one column, in their own unit."""
        return labels.astype(np.float64)[:, None]

    def scores(self, logits: np.ndarray) -> np.ndarray:
        """The values themselves."""
        return np.asarray(logits[:, 0], dtype=np.float64)

    def decode(self, scores: np.ndarray) -> list[dict[str, Any]]:
        """The value."""
        return [{"task": self.spec.kind, "value": value} for value in scores.tolist()]

    def present(self, labels: np.ndarray) -> np.ndarray:
        """Where the label is not NaN."""
        return np.asarray(~np.isnan(labels))

    def per_example(self, scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Minus the squared error, a stand-in for minus its root mean."""
        return -squared_errors(scores, labels)
