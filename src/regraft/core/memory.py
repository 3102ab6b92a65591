"""How much memory there is, how much is used, and whether an error or a kill was about memory.

On Linux a process may be given less than the machine has: by control groups, version 1 or 2, nested.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_CGROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")
_UNLIMITED = 1 << 60  # version 1 says "no limit" with a number near 2**63

_MESSAGES = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "could not create a memory",  # oneDNN's own allocations
    "std::bad_alloc",
    "out of memory",
)


@dataclass(frozen=True)
class ControlGroup:
    """The memory control group of a process.

    Attributes
    ----------
    folders
        The group's folder, then those of the groups around it: each of them may have a limit.
    version
        1 or 2: the files have other names.
    """

    folders: tuple[Path, ...]
    version: int

    @classmethod
    def find(cls, root: Path = _CGROUPS, membership: Path = _MEMBERSHIP) -> ControlGroup | None:
        """The group of this process; None where the system has none."""
        try:
            lines = [line.split(":", 2) for line in membership.read_text().splitlines()]
        except OSError:
            return None
        for _, controllers, path in lines:
            if "memory" in controllers.split(","):
                return cls._at(root / "memory", path, 1)
        unified = [path for number, controllers, path in lines if number == "0" and not controllers]
        return cls._at(root, unified[0], 2) if unified else None

    @classmethod
    def _at(cls, top: Path, path: str, version: int) -> ControlGroup | None:
        inside = top / path.lstrip("/")
        # A container may see the path that the group has outside, while its own group is mounted on top.
        folder = inside if inside.is_dir() else top
        if not folder.is_dir():
            return None
        above = [parent for parent in folder.parents if parent == top or top in parent.parents]
        return cls((folder, *above), version)

    @property
    def limit(self) -> int | None:
        """The smallest limit in bytes, of this group or one around it; None without any."""
        limits = [found for folder in self.folders if (found := self._limit(folder)) is not None]
        return min(limits, default=None)

    @property
    def room(self) -> int | None:
        """Bytes until the first limit is hit, counting file pages that can be dropped as free."""
        rooms = []
        for folder in self.folders:
            limit = self._limit(folder)
            if limit is not None:
                used = _number(folder / ("memory.usage_in_bytes", "memory.current")[self.version - 1]) or 0
                rooms.append(max(limit - used + self._droppable(folder), 0))
        return min(rooms, default=None)

    @property
    def kills(self) -> int:
        """How many processes of this group were killed because the memory ran out, since it exists."""
        return count_kills(self.folders[0])

    def _limit(self, folder: Path) -> int | None:
        found = _number(folder / ("memory.limit_in_bytes", "memory.max")[self.version - 1])
        return found if found is not None and found < _UNLIMITED else None

    def _droppable(self, folder: Path) -> int:
        return _field(folder / "memory.stat", ("total_inactive_file", "inactive_file")[self.version - 1])


def count_kills(folder: Path) -> int:
    """The ``oom_kill`` counter of a control group's folder, of either version; 0 where there is none."""
    return _field(folder / "memory.events", "oom_kill") or _field(folder / "memory.oom_control", "oom_kill")


def available_memory(device: torch.device) -> int:
    """Bytes that this process can still take on ``device``."""
    import psutil
    import torch

    if device.type == "cuda":
        # What PyTorch holds without using it can be used as well.
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + held
    group = ControlGroup.find()
    room = group.room if group else None
    machine = int(psutil.virtual_memory().available)
    return machine if room is None else min(machine, room)


def memory_limit() -> int:
    """Bytes that this process may ever have on the CPU."""
    import psutil

    group = ControlGroup.find()
    limit = group.limit if group else None
    machine = int(psutil.virtual_memory().total)
    return machine if limit is None else min(machine, limit)


def used_memory(device: torch.device) -> int:
    """Bytes that this process uses now: resident memory, or what PyTorch holds on a GPU."""
    import psutil
    import torch

    if device.type == "cuda":
        return torch.cuda.memory_reserved(device)
    return int(psutil.Process().memory_info().rss)


def peak_memory() -> int:
    """The most bytes that this process was ever resident with; 0 where the system does not say."""
    if sys.platform == "win32":
        return 0
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory could not be had, on whatever device."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(message in str(error) for message in _MESSAGES)


def in_bytes(count: float) -> str:
    """Bytes as a person says them: ``640 kB``, ``12.3 MB``, ``1.2 GB``."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e3:.0f} kB"


def _number(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _field(path: Path, name: str) -> int:
    """The number behind ``name`` in a file of lines ``name number``."""
    try:
        lines = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return 0
    return next((int(line[1]) for line in lines if len(line) == 2 and line[0] == name), 0)
