"""Checkpoints: safetensors and JSON in a folder that is whole or not there; the newest two are kept."""

from __future__ import annotations

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
from regraft.core.disk import full_disk_told
from regraft.core.errors import ResumeError
from regraft.core.files import read_json, sync_folder, write_json
from regraft.core.hashing import hash_file

KEEP = 2
FORMAT = 2
_STATE = "state.json"
_NEWEST = "newest.json"
_PART = ".part-"

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

        1. everything into a folder under another name, synced; 2. rename; 3. note its number, so that it is
        missed where somebody removes it; 4. drop old ones. A kill between any two leaves the one before in
        place. A full disk raises :class:`FullDiskError`; nothing is lost.
        """
        number = max([self._noted(), *(self._number(path) for path in self._all())]) + 1
        part = self.folder / f"{_PART}{number:06d}"
        self._drop_parts()
        advice = (
            "What was written before is whole; free some space (regraft cache --clear removes what can be "
            f"made again), then: regraft resume {self.folder.parent}"
        )
        try:
            with full_disk_told(f"no checkpoint could be written to {self.folder}", advice):
                self._write_part(part, state, tensors)
                os.replace(part, self.folder / f"{number:06d}")
                sync_folder(self.folder)
                write_json(self.folder / _NEWEST, {"number": number})
        finally:
            shutil.rmtree(part, ignore_errors=True)
        for old in self._all()[:-KEEP]:
            shutil.rmtree(old, ignore_errors=True)

    @classmethod
    def _write_part(cls, part: Path, state: Mapping[str, Any], tensors: Mapping[str, Tensors]) -> None:
        part.mkdir(parents=True)
        hashes = {
            name: cls._save(part / f"{name}.safetensors", group) for name, group in tensors.items() if group
        }
        write_json(part / _STATE, {**state, "format": FORMAT, "files": hashes})

    @staticmethod
    def _save(path: Path, group: Tensors) -> str:
        save_file(apart({name: tensor.detach().cpu().contiguous() for name, tensor in group.items()}), path)
        with open(path, "rb") as stream:
            os.fsync(stream.fileno())
        return hash_file(path)

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint that is whole, None if there is none.

        One that is damaged is passed over, and one that was removed is missed, both aloud.
        """
        found, noted = self._all(), self._noted()
        last = self._number(found[-1]) if found else 0
        if last < noted:
            going = f"going back to number {last}" if found else "beginning again from the start"
            say(
                f"The newest checkpoint, number {noted}, is no longer in {self.folder}; {going}. "
                "The steps since then are taken again, to the same bits."
            )
        for path in reversed(found):
            try:
                return self._load(path)
            except (OSError, ValueError, KeyError, ResumeError, SafetensorError) as error:
                say(f"The checkpoint {path} is damaged ({error}); going back to the one before.")
        if found:
            say(f"No checkpoint in {self.folder} is whole; beginning again from the start.")
        return None

    @staticmethod
    def _load(path: Path) -> Checkpoint:
        state = read_json(path / _STATE)
        if state.get("format") != FORMAT:
            raise ResumeError(f"it has format {state.get('format', 1)}, this regraft reads {FORMAT}")
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

    def _drop_parts(self) -> None:
        """Remove what a killed process left half written."""
        for part in self.folder.glob(f"{_PART}*"):
            shutil.rmtree(part, ignore_errors=True)

    def _all(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return sorted((path for path in self.folder.iterdir() if path.name.isdigit()), key=self._number)

    def _noted(self) -> int:
        """The number of the checkpoint that was written last, as noted; 0 if none was."""
        try:
            return int(read_json(self.folder / _NEWEST)["number"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0

    @staticmethod
    def _number(path: Path) -> int:
        return int(path.name)


def apart(tensors: Tensors) -> Tensors:
    """The same tensors with memory of their own: safetensors keeps no ties, the network's code does."""
    seen: set[int] = set()
    copied = {}
    for name, tensor in tensors.items():
        copied[name] = tensor.clone() if tensor.data_ptr() in seen else tensor
        seen.add(tensor.data_ptr())
    return copied
