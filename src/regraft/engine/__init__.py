"""The engine: executes plans, resumes them to the bit, and knows no strategy's name."""

from regraft.engine.bundle import write_model
from regraft.engine.checkpoint import Checkpoints
from regraft.engine.execute import check_plan, execute
from regraft.engine.history import History
from regraft.engine.open import open_workspace
from regraft.engine.opened import Opened
from regraft.engine.run import Run
from regraft.engine.settings import Settings
from regraft.engine.workspace import Workspace

__all__ = [
    "Checkpoints",
    "History",
    "Opened",
    "Run",
    "Settings",
    "Workspace",
    "check_plan",
    "execute",
    "open_workspace",
    "write_model",
]
