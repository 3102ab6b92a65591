"""Several processes that carry out one plan together: the same commands, started by ``torchrun``."""

from regraft.engine.processes.group import ALONE, Processes
from regraft.engine.processes.joining import end_by_itself, joined, leads, refuse_many, spoken_by
from regraft.engine.processes.keeping import SharedCheckpoints
from regraft.engine.processes.lockstep import Lockstep

__all__ = [
    "ALONE",
    "Lockstep",
    "Processes",
    "SharedCheckpoints",
    "end_by_itself",
    "joined",
    "leads",
    "refuse_many",
    "spoken_by",
]
