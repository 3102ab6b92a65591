"""Lock: one process at a time works on a run's folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from regraft.core.errors import ResumeError
from regraft.core.files import half_written

LOCK = ".lock"
_held: set[Path] = set()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; the system lets go of it whatever kills the process.

    What a killed process has left half written is removed.

    Raises :class:`ResumeError`, naming the process, where another one holds it. Where the system knows no
    such locks (Windows), nothing is locked.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = (folder / LOCK).resolve()
    if path in _held:  # closing the file a second time would let go of the lock
        raise ResumeError(_refusal(folder, str(os.getpid())))
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not _take(handle):
            raise ResumeError(_refusal(folder, os.read(handle, 20).decode("ascii", "replace").strip()))
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        _held.add(path)
        try:
            for part in half_written(folder):
                part.unlink(missing_ok=True)
            yield
        finally:
            _held.discard(path)
            path.unlink(missing_ok=True)
    finally:
        os.close(handle)


def _take(handle: int) -> bool:
    try:
        import fcntl
    except ImportError:
        return True
    try:
        # Of the process and not of the file's handle, so that no child of a killed process keeps it.
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _refusal(folder: Path, process: str) -> str:
    named = f"process {process}" if process else "another process"
    stop = f"stop it (kill {process})" if process else "stop it"
    return (
        f"{folder} is being worked on by {named}. Wait until that ends, or {stop}, "
        f"then: regraft resume {folder}"
    )
