"""Edits: what a train stage changes in a network before its first step, and takes back after its last."""

from regraft.engine.edits.edit import Edit
from regraft.engine.edits.editing import Editing, edited
from regraft.engine.edits.registry import EDITS, check_edits, edits_at, find_edit
from regraft.engine.edits.stage import StageEdits, try_edits

__all__ = [
    "EDITS",
    "Edit",
    "Editing",
    "StageEdits",
    "check_edits",
    "edited",
    "edits_at",
    "find_edit",
    "try_edits",
]
