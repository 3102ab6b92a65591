"""Where a train stage stands between two steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from regraft.engine.checkpoint import Tensors


@dataclass
class Standing:
    """Where a stage stands: what a checkpoint needs beside weights and optimiser.

    The same in all processes, but for ``epoch_terms``: those are sums over this process's share.
    """

    step: int = 0
    epoch_loss: float = 0.0
    epoch_terms: dict[str, float] = field(default_factory=dict)
    best_loss: float | None = None
    best_step: int = 0
    bad_epochs: int = 0
    seconds: float = 0.0
    slices: int = 1
    compiled: bool | None = None
    rates: dict[str, float] = field(default_factory=dict)
    best: Tensors = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """As JSON, which knows no infinite numbers: the best loss is written as text.

        Without tensors, and without the terms: every process has its own.
        """
        facts = {key: value for key, value in vars(self).items() if key not in ("best", "epoch_terms")}
        return {**facts, "best_loss": None if self.best_loss is None else repr(self.best_loss)}

    @classmethod
    def of(cls, facts: dict[str, Any], best: Tensors) -> Standing:
        """What :meth:`facts` was made of."""
        loss = facts["best_loss"]
        return cls(**{**facts, "best_loss": None if loss is None else float(loss)}, best=best)
