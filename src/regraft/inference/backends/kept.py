"""Compiled artefacts that are kept between runs, so that a second process starts in a fraction of the time.

An artefact is a folder below ``compiled`` in the cache, named by the hash of everything it depends on. It
is made beside its place and renamed, so that half of one is never seen; ``made.json`` holds the hash of
each of its files, and one that does not fit is dropped, aloud, and made again.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from regraft.core.console import say
from regraft.core.files import cache_folder, write_json
from regraft.core.hashing import hash_file, hash_json
from regraft.core.holding import hold

_MADE = "made.json"
Opened = TypeVar("Opened")


@dataclass(frozen=True)
class Kept:
    """Artefacts of one prefix: ``facts`` is all that they depend on beside what is asked of :meth:`open`."""

    facts: Mapping[str, object]

    def folder(self, what: Mapping[str, Any]) -> Path:
        """Where an artefact lies."""
        return cache_folder() / "compiled" / hash_json({**self.facts, **what})[:32]

    def open(
        self, what: Mapping[str, Any], write: Callable[[Path], None], read: Callable[[Path], Opened]
    ) -> Opened:
        """Read an artefact, which ``write`` puts into a folder first where it is not there or is damaged."""
        folder = self.folder(what)
        hold(folder)
        if folder.is_dir():
            try:
                _check(folder)
                return read(folder)
            except Exception as error:  # noqa: BLE001 - damage makes the reader raise anything
                say(f"A damaged compiled network is dropped and made again: {folder.name} ({error})")
                shutil.rmtree(folder, ignore_errors=True)
        _make(folder, write)
        return read(folder)

    def drop(self, what: Mapping[str, Any]) -> None:
        """Remove an artefact, if it is there."""
        shutil.rmtree(self.folder(what), ignore_errors=True)


def _check(folder: Path) -> None:
    made = json.loads((folder / _MADE).read_text())
    for name, digest in made["files"].items():
        if hash_file(folder / name) != digest:
            raise ValueError(f"{name} is not the file that was written")


def _make(folder: Path, write: Callable[[Path], None]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=".part-", dir=folder.parent))
    try:
        write(part)
        write_json(part / _MADE, {"files": {path.name: hash_file(path) for path in sorted(part.iterdir())}})
        try:
            part.rename(folder)
        except OSError:
            if not folder.is_dir():  # another process was faster, else
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
