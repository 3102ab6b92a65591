"""Checkpoints of any format, read one tensor at a time; no file that is read ever runs code."""

from regraft.sources.checkpoint.checkpoint import Checkpoint
from regraft.sources.checkpoint.files import describe, read_files, strip_wrappers, weight_files
from regraft.sources.checkpoint.memory import open_tensors
from regraft.sources.checkpoint.opening import open_checkpoint

__all__ = [
    "Checkpoint",
    "describe",
    "open_checkpoint",
    "open_tensors",
    "read_files",
    "strip_wrappers",
    "weight_files",
]
