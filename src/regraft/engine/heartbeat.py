"""A sign of life beside the checkpoints: what a run that was killed can no longer say itself.

When the memory of a machine or container runs out, the kernel ends the process without a word. The next
process finds in this file how much memory the run had used, how often the kernel had killed in its control
group when it began, and in how many slices it computed its batches.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from regraft.core.files import read_json, write_json
from regraft.core.memory import ControlGroup, count_kills, in_bytes, memory_limit, peak_memory, used_memory

FILE = Path("checkpoints") / "heartbeat.json"
"""In the run's folder; it goes with the checkpoints when the run is done."""
INTERVAL = 2.0  # seconds between two beats
FULL = 0.9
"""Share of the limit from which on a run that was killed is taken to have been killed for its memory."""


class Heartbeat:
    """Writes the file now and then, from between the steps.

    Parameters
    ----------
    folder
        The run's; None writes nothing.
    """

    def __init__(self, folder: Path | None):
        self.path = path = folder / FILE if folder else None
        self._beaten = float("-inf")
        group = ControlGroup.find() if path else None
        self._group = str(group.folders[0]) if group else ""
        self._kills = group.kills if group else 0

    def beat(self, stage: str, step: int, slices: int, *, now: bool = False) -> None:
        """Record where the run stands, every two seconds or ``now``."""
        if self.path is None or not (now or time.monotonic() - self._beaten >= INTERVAL):
            return
        facts = {
            "process": os.getpid(),
            "stage": stage,
            "step": step,
            "slices": slices,
            "memory": used_memory(torch.device("cpu")),
            "peak": peak_memory(),
            "limit": memory_limit(),
            "group": self._group,
            "kills": self._kills,
        }
        with suppress(OSError):  # a full disk is for the next checkpoint to report
            write_json(self.path, facts)
        self._beaten = time.monotonic()


@dataclass(frozen=True)
class Killed:
    """A run that was killed for its memory: in which stage, computing in how many slices, and how we know."""

    stage: str
    slices: int
    evidence: str


def killed_for_memory(folder: Path) -> Killed | None:
    """Read the heartbeat of a run that ended without a word; None where nothing speaks of memory."""
    try:
        facts: dict[str, Any] = read_json(folder / FILE)
        since = count_kills(Path(facts["group"])) - facts["kills"] if facts["group"] else 0
        peak, limit = max(facts["memory"], facts["peak"]), facts["limit"]
        stage, slices = str(facts["stage"]), int(facts["slices"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if since > 0:
        return Killed(stage, slices, "the kernel ended a process of its control group for lack of memory")
    if limit and peak >= FULL * limit:
        used = f"it had used {in_bytes(peak)} of the {in_bytes(limit)} that it may have"
        return Killed(stage, slices, used)
    return None
