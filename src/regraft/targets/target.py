"""Target: what the model is needed for: examples, labels, splits, and what could not be read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from regraft.core.seal import Ledger
from regraft.core.task_spec import TaskSpec

Labels = dict[str, np.ndarray]
"""By output name, encoded as TaskSpec says; the first dimension is the example."""


@dataclass(frozen=True)
class Unreadable:
    """An example that could not be used, and why."""

    item: str
    reason: str


@dataclass(frozen=True)
class Draw:
    """Train and validation as drawn by one seed: ascending indices into the target's examples."""

    seed: int
    train: np.ndarray
    validation: np.ndarray
