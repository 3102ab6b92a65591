"""Executors: many pieces of work of one kind, carried out here, in processes of this machine, or on Ray."""

from regraft.core.executors.executor import Executor, Outcome, Tick, together
from regraft.core.executors.here import Here
from regraft.core.executors.opening import ENGINES, LOCAL, Engine, open_executor, read_engine

__all__ = [
    "ENGINES",
    "LOCAL",
    "Engine",
    "Executor",
    "Here",
    "Outcome",
    "Tick",
    "open_executor",
    "read_engine",
    "together",
]
