"""Task: head, loss, decoding and metrics of one named output. Knows nothing of modality."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from regraft.core.task_spec import TaskSpec
from regraft.tasks.neighbours import NeighbourHead


@dataclass(frozen=True)
class Metric(abc.ABC):
    """A figure of merit.

    Attributes
    ----------
    name
        As printed: ``accuracy``, ``macro F1``.
    higher_is_better
        False for errors.
    percent
        Whether it is a share, printed in percent and compared in points.
    """

    name: str
    higher_is_better: bool = True
    percent: bool = True

    @abc.abstractmethod
    def compute(self, scores: np.ndarray, labels: np.ndarray) -> float:
        """The figure for decoded scores and labels, both without missing rows; NaN where undefined."""

    def resampled(self, scores: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """The figure of R resamples at once, ``float64 (R,)``; NaN where undefined.

        ``counts`` is ``int (R, N)``: how often each resample holds each example. Metrics that can do better
        than one resample after the other override this.
        """
        rows = (np.repeat(np.arange(len(labels)), row) for row in counts)
        return np.array([self.compute(scores[row], labels[row]) for row in rows], dtype=np.float64)

    def possible(self, low: float, high: float) -> tuple[float, float]:
        """The ends of an interval no farther than the figure can go: a share lies between 0 and 1."""
        return (max(low, 0.0), min(high, 1.0)) if self.percent else (low, high)


class Task(abc.ABC):
    """One named output of the target model.

    N examples, K outputs of the head. ``labels`` are encoded as :class:`TaskSpec` says. The first metric is
    the one that decides. A task is a value: :meth:`fitted` returns another one, nothing changes in place.
    """

    def __init__(self, spec: TaskSpec):
        self.spec = spec

    @property
    def reads(self) -> str:
        """Which of the source's outputs the head reads."""
        return "pooled"

    @property
    @abc.abstractmethod
    def outputs(self) -> int:
        """K: how many numbers the head gives for an example."""

    @property
    @abc.abstractmethod
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics that fit this kind of task; the first decides."""

    @abc.abstractmethod
    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Loss of each example, ``Float[Tensor, "batch"]``; 0 where the label is missing."""

    @abc.abstractmethod
    def regressand(self, labels: np.ndarray) -> np.ndarray:
        """What a least-squares head is fitted to, ``float64 (N, K)``, of labels without missing rows."""

    @abc.abstractmethod
    def scores(self, logits: np.ndarray) -> np.ndarray:
        """Probabilities ``float64 (N, K)``, or values ``(N,)`` for regression."""

    @abc.abstractmethod
    def decode(self, scores: np.ndarray) -> list[dict[str, Any]]:
        """Per example the fields of the prediction's JSON: task and label, labels or value."""

    @abc.abstractmethod
    def present(self, labels: np.ndarray) -> np.ndarray:
        """``bool (N,)``: where a label is there."""

    @abc.abstractmethod
    def per_example(self, scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """How good each prediction is, ``float64 (N,)``, higher is better; its mean is the deciding metric
        where that is a mean over examples (accuracy), and a stand-in elsewhere (minus the squared error).
        """

    def fitted(self, labels: np.ndarray) -> Task:
        """The task with what it has to know of the training labels (the units of a regression)."""
        return self

    def head(self, width: int) -> nn.Linear:
        """A zero-initialised linear head: weight ``(K, width)``, bias ``(K,)``."""
        return zero_initialised(nn.Linear(width, self.outputs))

    def fill_head(self, head: nn.Linear, weight: Tensor, bias: Tensor) -> None:
        """Write a solution into a head, so that it gives ``features @ weight.T + bias``."""
        with torch.no_grad():
            head.weight.copy_(weight)
            head.bias.copy_(bias)

    def sharpen_head(self, head: nn.Module, factor: float) -> None:
        """Multiply a head's logits; only heads of outputs with classes give any."""
        with torch.no_grad():
            for tensor in _scale_of(head):
                tensor.mul_(factor)


def zero_initialised(layer: nn.Linear) -> nn.Linear:
    """The layer with its weight and bias set to zero, unless it lies on the meta device."""
    if not layer.weight.is_meta:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    return layer


def _scale_of(head: nn.Module) -> list[Tensor]:
    """The tensors of a head to which its logits are proportional."""
    if isinstance(head, NeighbourHead):
        return [head.sharpness]
    assert isinstance(head, nn.Linear)
    return [head.weight, head.bias]
