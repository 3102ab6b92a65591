"""Precision: the numbers that a train stage computes with.

Weights, their gradients' sums and the loss are ``float32`` whatever the setting; with ``bfloat16`` or
``float16`` the trained layers and the heads run under ``torch.autocast`` (Micikevicius et al. 2018, "Mixed
Precision Training"). The frozen prefix and every validation stay in ``float32``, as predictions do.

``float16`` has few exponents, so its loss is scaled; where a scaled gradient overflows, the step is skipped
and the scale is halved. That needs a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from regraft.core.errors import UsageError

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def check_precision(name: str, device: torch.device) -> None:
    """Raise :class:`UsageError` for a precision that the device does not train with."""
    if name == "float16" and device.type != "cuda":
        raise UsageError(
            f"--precision float16 needs a CUDA GPU, and the device is {device.type}: use --precision "
            "bfloat16, or float32"
        )


@dataclass
class Precision:
    """How one stage computes.

    Attributes
    ----------
    skipped
        Steps that were not taken because a scaled gradient overflowed.
    """

    name: str
    device: torch.device
    skipped: int = 0

    def __post_init__(self) -> None:
        check_precision(self.name, self.device)
        self.scaler = torch.amp.GradScaler(self.device.type) if self.name == "float16" else None

    @contextmanager
    def reduced(self) -> Iterator[None]:
        """Inside, layers run in the reduced precision."""
        if self.name == "float32":
            yield
            return
        with torch.autocast(self.device.type, dtype=PRECISIONS[self.name]):
            yield

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of a loss, scaled where it has to be."""
        self.scaled(loss).backward()

    def scaled(self, loss: Tensor) -> Tensor:
        """A loss as its gradient is taken."""
        return loss if self.scaler is None else self.scaler.scale(loss)

    def unscale(self, optimiser: Optimizer) -> bool:
        """Give gradients their own scale, before they are clipped; says whether the step may be taken."""
        if self.scaler is None:
            return True
        self.scaler.unscale_(optimiser)
        gradients = [
            p.grad for group in optimiser.param_groups for p in group["params"] if p.grad is not None
        ]
        return all(bool(torch.isfinite(gradient).all()) for gradient in gradients)

    def step(self, optimiser: Optimizer) -> bool:
        """Take the optimiser's step; False where it was skipped."""
        if self.scaler is None:
            optimiser.step()
            return True
        before = self.scaler.get_scale()
        self.scaler.step(optimiser)
        self.scaler.update()
        taken = self.scaler.get_scale() >= before
        self.skipped += not taken
        return taken

    def facts(self) -> dict[str, Any]:
        """What a checkpoint has to know."""
        return {
            "skipped": self.skipped,
            "scaler": None if self.scaler is None else self.scaler.state_dict(),
        }

    def restore(self, facts: dict[str, Any]) -> None:
        """Put back what :meth:`facts` gave."""
        self.skipped = int(facts["skipped"])
        if self.scaler is not None and facts["scaler"] is not None:
            # The one before may be in the middle of a step that was not taken.
            self.scaler = torch.amp.GradScaler(self.device.type)
            self.scaler.load_state_dict(facts["scaler"])
