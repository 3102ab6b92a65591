"""Tasks: one per named output."""

from regraft.tasks.make import make_task
from regraft.tasks.task import Metric, Task

__all__ = ["Metric", "Task", "make_task"]
