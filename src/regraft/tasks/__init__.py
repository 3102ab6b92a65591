"""Tasks: one per named output."""

from regraft.tasks.make import make_task
from regraft.tasks.neighbours import build_head, head_spec
from regraft.tasks.task import Metric, Task

__all__ = ["Metric", "Task", "build_head", "head_spec", "make_task"]
