"""Holds: which entries of the cache are in use, and when each was used last.

The cache folder has a folder for each kind (``activations``, ``images``), with an entry (a folder or a file)
for each thing that can be thrown away on its own. Beside an entry lies ``.NAME.use``: its time is the last
use, and whoever uses the entry holds a lock on it, which the system lets go when the process ends, however
it ends. Where a system has no such locks, an entry counts as in use for a day.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_UNLOCKED_AGE = 86_400.0  # seconds for which an entry counts as in use where there are no locks


class Hold:
    """A lock on one entry, shared with everybody else who uses it, until :meth:`release` or the end."""

    def __init__(self, entry: Path):
        self.entry = entry
        self._handle: int | None = None
        self._handle = _locked(_mark_of(entry))

    def touch(self) -> None:
        """Note that the entry is used now."""
        if self._handle is not None:
            os.utime(self._handle)

    def release(self) -> None:
        """Let go; later calls do nothing."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def __del__(self) -> None:
        self.release()


_held: dict[Path, Hold] = {}


def hold(entry: Path) -> None:
    """Hold an entry, there already or about to be made, until this process ends.

    Where the cache cannot be written there is nothing to hold and nothing is said: writing will say it.
    """
    try:
        if entry not in _held:
            _held[entry] = Hold(entry)
        _held[entry].touch()
    except OSError:
        _held.pop(entry, None)


def last_use(entry: Path) -> float:
    """When an entry was used last, in seconds since 1970."""
    for path in (_mark_of(entry), entry):
        try:
            return path.stat().st_mtime
        except OSError:
            continue
    return 0.0


@contextmanager
def claimed(entry: Path) -> Iterator[bool]:
    """Claim an entry, so that it can be removed: whether it was free. Nobody can hold it inside the block."""
    mark = _mark_of(entry)
    fcntl = _locks()
    if fcntl is None:
        yield time.time() - last_use(entry) > _UNLOCKED_AGE
        return
    try:
        handle = os.open(mark, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError:
        yield False
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        yield False
        return
    try:
        yield True
    finally:
        if not entry.exists():
            mark.unlink(missing_ok=True)
        os.close(handle)


def _locks() -> Any:
    """The system's file locks; None where it has none (Windows)."""
    try:
        import fcntl
    except ImportError:
        return None
    return fcntl


def _mark_of(entry: Path) -> Path:
    return entry.parent / f".{entry.name}.use"


def _locked(mark: Path) -> int:
    """A handle with a shared lock on the mark; one that was removed while we waited is made anew."""
    mark.parent.mkdir(parents=True, exist_ok=True)
    fcntl = _locks()
    while True:
        handle = os.open(mark, os.O_RDWR | os.O_CREAT, 0o644)
        if fcntl is None:
            return handle
        try:
            fcntl.flock(handle, fcntl.LOCK_SH)
            if os.path.samestat(os.fstat(handle), os.stat(mark)):
                return handle
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
