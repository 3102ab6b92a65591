"""What is kept between runs: how much there is, how much there may be, and what goes first.

The cache folder holds a folder for each kind, with entries that can be thrown away one by one: whole shelves
of activations, the decoded images of one geometry, the tokens of one set of texts. Where it grows past its
limit, the entry that was used least recently goes first; entries in use, by any process, stay
(:mod:`regraft.core.holding`).
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from regraft.core.console import say
from regraft.core.errors import UsageError
from regraft.core.files import cache_folder, read_json
from regraft.core.holding import claimed, last_use

MOST = 50 * 10**9
SHARE = 0.2
"""Without a limit of one's own the cache holds so many bytes, or this share of what it could have on disk."""
_LOOK_AGAIN = 256 << 20  # bytes that one process writes before it looks at what others wrote
_SMALL = 1 << 20  # files up to this size are taken to be filled
_STALE = 3600.0  # seconds after which something half-made belongs to a process that died


@dataclass(frozen=True)
class CacheEntry:
    """One thing that is kept and can be thrown away on its own.

    Attributes
    ----------
    kind
        The folder that it lies in: ``activations``, ``images``, ``tokens``, ..
    size
        Bytes on disk.
    used
        When it was used last, in seconds since 1970.
    about
        What it is, for people: whose network, up to which block. Empty where nothing says so.
    """

    kind: str
    name: str
    files: int
    size: int
    used: float
    about: str = ""

    @property
    def path(self) -> Path:
        """Where it lies."""
        return cache_folder() / self.kind / self.name


def cache_contents() -> list[CacheEntry]:
    """What is kept between runs, the least recently used first."""
    return sorted(_entries(), key=lambda entry: (entry.used, entry.kind, entry.name))


def _entries() -> Iterator[CacheEntry]:
    for path in _things():
        if not path.name.startswith("."):
            files, size = _measure(path)
            yield CacheEntry(path.parent.name, path.name, files, size, last_use(path), _about(path))


def _things() -> Iterator[Path]:
    """Everything in the folders of all kinds, hidden files with it."""
    root = cache_folder()
    for kind in sorted(root.iterdir()) if root.is_dir() else ():
        if kind.is_dir():
            yield from sorted(kind.iterdir())


def _measure(path: Path) -> tuple[int, int]:
    """Number of files and bytes on disk: a file that is not filled yet takes what it has."""
    files = [path] if path.is_file() else [Path(at, name) for at, _, names in os.walk(path) for name in names]
    total = 0
    for file in files:
        try:
            stat = file.stat()
        except OSError:
            continue  # removed meanwhile
        filled: int = getattr(stat, "st_blocks", stat.st_size) * 512
        total += min(stat.st_size, filled) if stat.st_size > _SMALL else stat.st_size
    return len(files), total


def _about(path: Path) -> str:
    try:
        facts = read_json(path / "shelf.json")
        return f"{facts['network']} to {facts['cut']}, {facts['values']}, {facts['backend']}"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def clear_cache(kind: str | None = None) -> int:
    """Remove what is kept between runs, or what is kept of one kind; returns the bytes that were freed.

    What is in use, by any process, stays and is named. Raises :class:`UsageError` where there is no such
    kind.
    """
    entries = cache_contents()
    kinds = sorted({entry.kind for entry in entries})
    if kind is not None and kind not in kinds:
        raise UsageError(f"the cache keeps no {kind!r}; it keeps: {', '.join(kinds) or 'nothing'}")
    freed = sum(_remove(entry) for entry in entries if kind in (None, entry.kind))
    busy = [entry for entry in cache_contents() if kind in (None, entry.kind)]
    if busy:
        names = ", ".join(f"{entry.kind}/{entry.name}" for entry in busy[:3]) + (", .." if busy[3:] else "")
        say(f"{len(busy)} entries are in use and stay: {names}")
    _remove_leavings()
    return freed


def _remove(entry: CacheEntry) -> int:
    """Remove an entry that nobody uses; the bytes that were freed."""
    with claimed(entry.path) as free:
        if not free:
            return 0
        if entry.path.is_dir():
            # Under another name first, so that half of it is never found.
            gone = entry.path.with_name(f".gone-{entry.name}-{os.getpid()}")
            try:
                entry.path.rename(gone)
            except OSError:
                return 0
            shutil.rmtree(gone, ignore_errors=True)
        else:
            entry.path.unlink(missing_ok=True)
    return entry.size


def _remove_leavings() -> None:
    """Remove what processes that died left half-made, and the folders of kinds that hold nothing."""
    for path in list(_things()):
        try:
            if path.name.startswith(".") and _is_leaving(path):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        except OSError:
            continue
    root = cache_folder()
    for kind in list(root.iterdir()) if root.is_dir() else []:
        try:
            kind.rmdir()
        except OSError:
            continue  # it is no folder, or holds something


def _is_leaving(path: Path) -> bool:
    if path.name.endswith(".use"):
        if path.with_name(path.name[1:-4]).exists():
            return False
        with claimed(path.with_name(path.name[1:-4])) as free:
            return free and path.exists()
    return time.time() - path.stat().st_mtime > _STALE or path.name.startswith(".gone-")


def evict(limit: int) -> int:
    """Remove entries, the least recently used first, until at most ``limit`` bytes are kept or the rest is
    in use; returns the bytes that are kept.
    """
    entries = cache_contents()
    kept = sum(entry.size for entry in entries)
    for entry in entries:
        if kept <= limit:
            break
        freed = _remove(entry)
        kept -= freed
        if freed:
            say(
                f"The cache is over its limit of {limit / 1e9:.1f} GB: {entry.kind}/{entry.name} "
                f"({freed / 1e9:.2f} GB, used least recently) is dropped."
            )
    return kept


def default_limit() -> int:
    """``$REGRAFT_CACHE_LIMIT``, else 50 GB or 20% of the disk space that the cache has and could have."""
    named = os.environ.get("REGRAFT_CACHE_LIMIT")
    if named:
        return parse_size(named)
    folder = cache_folder()
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    # With what it holds already: else the limit would fall as the cache grows.
    held = sum(entry.size for entry in cache_contents())
    return min(MOST, int(SHARE * (shutil.disk_usage(folder).free + held)))


def parse_size(text: str) -> int:
    """``20GB``, ``500 MB``, ``1.5TB`` or a number of bytes. Raises :class:`UsageError` for anything else."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?\s*", text, re.IGNORECASE)
    if found is None:
        raise UsageError(f"{text!r} is no size; write 20GB, 500MB or a number of bytes")
    number, letter, binary = found.groups()
    power = " KMGT".index(letter.upper() or " ")
    return int(float(number) * (1024 if binary else 1000) ** power)


def keep_within(limit: int | None) -> None:
    """Make room where the cache is over its limit; None means :func:`default_limit`."""
    evict(default_limit() if limit is None else limit)


class Allowance:
    """How much one process may add to the cache.

    Parameters
    ----------
    limit
        Bytes for the whole cache; None means :func:`default_limit`.
    """

    def __init__(self, limit: int | None):
        self._wanted = limit
        self._limit: int | None = None
        self._kept = 0
        self._unseen = 0

    @property
    def limit(self) -> int:
        """Bytes that the whole cache may hold."""
        if self._limit is None:
            self._limit = default_limit() if self._wanted is None else self._wanted
        return self._limit

    def grant(self, size: int) -> bool:
        """Whether ``size`` bytes more may be written; makes room for them where it can."""
        first = self._limit is None
        self._unseen += size
        self._kept += size
        if first or self._kept > self.limit or self._unseen > _LOOK_AGAIN:
            self._kept = evict(max(self.limit - size, 0)) + size
            self._unseen = 0
        if self._kept > self.limit:
            self._kept -= size
            return False
        return True
