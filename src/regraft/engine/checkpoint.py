"""Checkpoints: safetensors and JSON in a folder that is whole or not there; the newest two are kept."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from regraft.core.console import say
from regraft.core.errors import ResumeError, TrainingError
from regraft.core.files import read_json, write_json
from regraft.core.hashing import hash_file

KEEP = 2
_STATE = "state.json"

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """One moment of a run: JSON facts, and named groups of tensors."""

    state: dict[str, Any]
    tensors: dict[str, Tensors]


class Checkpoints:
    """The checkpoints of one run, in ``folder``."""

    def __init__(self, folder: Path):
        self.folder = folder

    def write(self, state: Mapping[str, Any], tensors: Mapping[str, Tensors]) -> None:
        """Write a checkpoint and drop those that are older than the newest two.

        1. everything into a folder under another name, synced; 2. rename; 3. drop old ones. A kill
        between any two leaves the one before in place. A full disk raises :class:`TrainingError`; nothing is
        lost.
        """
        number = max((self._number(path) for path in self._all()), default=0) + 1
        part = self.folder / f".part-{number:06d}"
        try:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            hashes = {
                name: self._save(part / f"{name}.safetensors", group) for name, group in tensors.items()
            }
            write_json(part / _STATE, {**state, "files": hashes})
            os.replace(part, self.folder / f"{number:06d}")
        except OSError as error:
            shutil.rmtree(part, ignore_errors=True)
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise TrainingError(
                f"the disk is full: no checkpoint could be written to {self.folder}. The one before is "
                f"intact; free some space and run: regraft resume {self.folder.parent}"
            ) from error
        for old in self._all()[:-KEEP]:
            shutil.rmtree(old, ignore_errors=True)

    @staticmethod
    def _save(path: Path, group: Tensors) -> str:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in group.items()}, path)
        with open(path, "rb") as stream:
            os.fsync(stream.fileno())
        return hash_file(path)

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint that is whole; a damaged one is passed over, aloud. None if there is none."""
        for path in reversed(self._all()):
            try:
                return self._load(path)
            except (OSError, ValueError, KeyError, ResumeError, SafetensorError) as error:
                say(f"The checkpoint {path} is damaged ({error}); going back to the one before.")
        return None

    @staticmethod
    def _load(path: Path) -> Checkpoint:
        state = read_json(path / _STATE)
        tensors = {}
        for name, sha256 in state["files"].items():
            file = path / f"{name}.safetensors"
            if hash_file(file) != sha256:
                raise ResumeError(f"{file} is not what was written")
            tensors[name] = load_file(file)
        return Checkpoint(state, tensors)

    def clear(self) -> None:
        """Remove all checkpoints: the run is done."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _all(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return sorted((path for path in self.folder.iterdir() if path.name.isdigit()), key=self._number)

    @staticmethod
    def _number(path: Path) -> int:
        return int(path.name)
