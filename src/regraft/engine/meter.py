"""Meter: what is measured of a stage while it trains, for the lines of its history."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from regraft.core.memory import used_memory


class Meter:
    """Counts the examples and the time of steps since the last line; validation and checkpoints apart."""

    def __init__(self, device: torch.device):
        self.device = device
        self._examples, self._seconds = 0, 0.0

    @contextmanager
    def step(self, examples: int) -> Iterator[None]:
        """Measure a step over so many examples, of all processes together."""
        start = time.monotonic()
        yield
        self._seconds += time.monotonic() - start
        self._examples += examples

    def read(self) -> dict[str, Any]:
        """Speed since the last call, and memory: resident, or the peak of what tensors take on a GPU."""
        speed = self._examples / self._seconds if self._seconds else 0.0
        self._examples, self._seconds = 0, 0.0
        return {"examples_per_second": round(speed, 1), "memory": self._memory()}

    def _memory(self) -> int:
        if self.device.type != "cuda":
            return used_memory(self.device)
        peak = torch.cuda.max_memory_allocated(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        return peak
