"""A shelf: everything that is kept of one frozen prefix, shared by runs and by processes at the same time.

It is a folder named by the hash of all that a value depends on beside its example, and holds shards
(:mod:`regraft.inference.shard`), and ``shelf.json``, which says for people whose values these are. What other
processes add is found by :meth:`Shelf.refresh`. Where the disk is full, or the cache may not grow, values
stay in memory; where memory is short as well they are not kept, and whoever needs them computes them again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from regraft.core.console import say
from regraft.core.files import cache_folder, read_json, write_json
from regraft.core.hashing import hash_bytes, hash_json
from regraft.core.holding import Hold
from regraft.inference.cache import Allowance
from regraft.inference.shard import KEY_BYTES, Part, Shard

SHARD_BYTES = 32 << 20
SHARD_SECONDS = 20.0
"""Values are written when there are so many of them, or when the oldest have waited for so long."""
_ABOUT = "shelf.json"
_STALE = 3600.0  # seconds after which a half-written file belongs to a process that died


class MissingValuesError(KeyError):
    """Values that were there are gone: somebody removed the shelf while it was in use."""


class Shelf:
    """All kept values of one prefix.

    Parameters
    ----------
    folder
        Where they lie; None keeps them in memory only.
    allowance
        How much the cache on disk may hold.
    memory
        Bytes that may be kept in memory; None sets no bound.
    """

    def __init__(
        self, folder: Path | None = None, *, allowance: Allowance | None = None, memory: int | None = None
    ):
        self.folder, self.about = folder, _read_about(folder)
        self._allowance, self._memory = allowance or Allowance(None), memory
        self._hold: Hold | None = None
        self._shards: list[Shard] = []
        self._seen: set[str] = set()
        self._pending: list[Part] = []
        self._waiting_since = 0.0
        self._index = _Index()
        self._full = False
        self._writes = folder is not None

    @classmethod
    def open(cls, facts: Mapping[str, object], *, limit: int | None = None) -> Shelf:
        """The shelf for a prefix that is described by ``facts``; ``limit`` bytes are for the whole cache."""
        folder = cache_folder() / "activations" / hash_json(dict(facts))[:32]
        shelf = cls(folder, allowance=Allowance(limit), memory=_spare_memory())
        try:
            shelf._hold = Hold(folder)  # before it is read: nobody may remove it from here on
            shelf._hold.touch()
        except OSError:
            pass  # a cache that can only be read; whoever writes to it will say so
        shelf.about = _read_about(folder)
        shelf.refresh()
        return shelf

    def describe(self, about: Mapping[str, Any]) -> None:
        """Say whose values these are, and what was found out about them; kept in ``shelf.json``."""
        self.about = dict(about)
        if self.folder is None or not self._writes:
            return
        try:
            write_json(self.folder / _ABOUT, self.about)
        except OSError as error:
            self._give_up_disk(error)

    def refresh(self) -> None:
        """Find what other processes have added."""
        if self.folder is None or not self.folder.is_dir():
            return
        for entry in sorted(os.scandir(self.folder), key=lambda entry: entry.name):
            if entry.name.endswith(".part"):
                _remove_stale(Path(entry.path))
            elif entry.name.endswith(".safetensors") and entry.name not in self._seen:
                self._read(Path(entry.path))

    def _read(self, path: Path) -> None:
        try:
            shard = Shard.read(path)
        except FileNotFoundError:
            return
        except (OSError, KeyError, ValueError, TypeError, IndexError) as error:
            say(f"A damaged file in the cache is dropped and computed again: {path.name} ({error})")
            path.unlink(missing_ok=True)
            return
        self._seen.add(path.name)
        self._take_in(shard)

    def _take_in(self, shard: Shard) -> None:
        self._index.add(shard.keys, len(self._shards))
        self._shards.append(shard)

    @property
    def full(self) -> bool:
        """Whether nothing more can be kept, neither on disk nor in memory."""
        return self._full

    def has(self, keys: np.ndarray) -> np.ndarray:
        """For each key whether its value is there, ``bool (keys,)``; what waits to be written is not yet."""
        return self._index.find(keys)[0] >= 0

    def add(self, part: Part) -> None:
        """Keep values; they are found after the next :meth:`flush`, which may happen here."""
        if not self._pending:
            self._waiting_since = time.monotonic()
        self._pending.append(part)
        waited = time.monotonic() - self._waiting_since
        if sum(part.size for part in self._pending) >= SHARD_BYTES or waited > SHARD_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if not self._pending:
            return
        shard = Shard.of(self._pending)
        self._pending = []
        assert shard.memory is not None
        size = shard.memory.nbytes
        if self._writes:
            stored = self._store(shard, size)
            if stored is not None:
                self._take_in(stored)
                return
        if self._memory is not None:
            if size > self._memory:
                self._give_up_memory()
                return
            self._memory -= size
        self._take_in(shard)

    def _store(self, shard: Shard, size: int) -> Shard | None:
        """The shard as a file; None where it cannot be one."""
        assert self.folder is not None
        name = f"{hash_bytes(shard.keys.tobytes())[:32]}.safetensors"
        try:
            if not self._allowance.grant(size):
                raise OSError(f"its limit of {self._allowance.limit / 1e9:.1f} GB is reached")
            shard.write(self.folder / name)
            self._seen.add(name)
            if self._hold is not None:
                self._hold.touch()
            return Shard.read(self.folder / name)
        except OSError as error:
            self._give_up_disk(error)
            return None

    def _give_up_disk(self, error: OSError) -> None:
        say(
            f"The cache in {cache_folder()} takes no more ({error.strerror or error}): going on without it, "
            "nothing is lost. See what it holds with: regraft cache"
        )
        self._writes = False

    def _give_up_memory(self) -> None:
        if not self._full:
            say("Nor is there memory to keep more of what frozen layers give: the rest is run when needed.")
        self._full = True

    def take(self, keys: np.ndarray) -> Tensor:
        """Values of the given keys, stacked, float32; those of other shapes are padded with zeros at each
        dimension's end to the largest. Raises :class:`MissingValuesError` where one is not there.
        """
        shards, rows = self._index.find(keys)
        if len(keys) == 0 or (shards < 0).any():
            raise MissingValuesError("values that were kept are gone")
        wanted = [(number, np.flatnonzero(shards == number)) for number in np.unique(shards).tolist()]
        largest = np.max(
            [self._shards[number].shapes_of(rows[places]).max(axis=0) for number, places in wanted], axis=0
        )
        out = torch.zeros((len(keys), *largest.tolist()))
        for number, places in wanted:
            try:
                self._shards[number].copy_into(out.numpy(), places, rows[places])
            except (OSError, ValueError) as error:
                self.forget()
                raise MissingValuesError("values that were kept are gone") from error
        return out

    def close(self) -> None:
        """Write what waits and let others remove the shelf."""
        self.flush()
        if self._hold is not None:
            self._hold.release()

    def forget(self) -> None:
        """Look at the folder anew: somebody changed it."""
        memory = [shard for shard in self._shards if shard.path is None]
        self._shards, self._index, self._seen = [], _Index(), set()
        for shard in memory:
            self._take_in(shard)
        self.refresh()


class _Index:
    """Where each key's value lies: sorted, so that a million keys take 24 MB and no Python objects."""

    def __init__(self) -> None:
        self._keys = np.empty(0, dtype=f"S{KEY_BYTES}")
        self._shard = np.empty(0, dtype=np.int32)
        self._row = np.empty(0, dtype=np.int32)
        self._fresh: list[tuple[np.ndarray, int]] = []

    def add(self, keys: np.ndarray, shard: int) -> None:
        self._fresh.append((keys, shard))

    def find(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The shard and the row of each key; -1 where it is not there."""
        self._merge()
        if len(self._keys) == 0:
            nowhere = np.full(len(keys), -1, dtype=np.int32)
            return nowhere, nowhere
        place = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        there = self._keys[place] == keys
        return np.where(there, self._shard[place], -1), np.where(there, self._row[place], -1)

    def _merge(self) -> None:
        """Sort in what came since the last look-up; of one key that two processes wrote, the first stays."""
        if not self._fresh:
            return
        keys = np.concatenate([self._keys, *(keys for keys, _ in self._fresh)])
        shard = [np.full(len(keys), number, dtype=np.int32) for keys, number in self._fresh]
        row = [np.arange(len(keys), dtype=np.int32) for keys, _ in self._fresh]
        self._keys, first = np.unique(keys, return_index=True)
        self._shard = np.concatenate([self._shard, *shard])[first]
        self._row = np.concatenate([self._row, *row])[first]
        self._fresh = []


def _read_about(folder: Path | None) -> dict[str, Any] | None:
    """What ``shelf.json`` says; None where there is none that can be read."""
    try:
        found = read_json(folder / _ABOUT) if folder is not None else None
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _remove_stale(part: Path) -> None:
    try:
        if time.time() - part.stat().st_mtime > _STALE:
            part.unlink()
    except OSError:
        pass  # another process was faster


def _spare_memory() -> int:
    """Bytes of memory that may hold what the disk does not take: a quarter of what is free."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4
    except (AttributeError, OSError, ValueError):
        return 1 << 30
