"""A layer that kills its process: in a file of its own, because workers import it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from torch import Tensor, nn


class Killing(nn.Conv2d):
    """A convolution that kills any process but the one that made it, unless a file is there; it makes it."""

    def __init__(self, mark: Path, *shape: int):
        super().__init__(*shape)
        self.mark, self.home = mark, os.getpid()

    def forward(self, input: Tensor) -> Tensor:
        if os.getpid() != self.home and not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(input)
