"""The activation cache: what frozen layers gave for an example, kept on disk and shared by runs.

A *shelf* is a folder named by everything that a value depends on beside the example. It holds *shards*:
safetensors files written atomically, each with the values of some pieces and the pieces' keys. A half-written
shard is never seen; a damaged one is dropped and computed again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from regraft.core.console import say
from regraft.core.files import atomic_path, cache_folder
from regraft.core.hashing import hash_json


@dataclass
class Shelf:
    """All cached values of one prefix. ``folder`` None keeps them in memory only."""

    folder: Path | None
    _where: dict[str, tuple[Tensor, int]] = field(default_factory=dict)

    @classmethod
    def open(cls, facts: dict[str, object]) -> Shelf:
        """The shelf for a prefix that is described by ``facts``."""
        shelf = cls(cache_folder() / "activations" / hash_json(facts)[:32])
        assert shelf.folder is not None
        for path in sorted(shelf.folder.glob("*.safetensors")):
            shelf._read(path)
        return shelf

    def _read(self, path: Path) -> None:
        try:
            with safe_open(path, framework="pt") as shard:
                keys = json.loads((shard.metadata() or {})["keys"])
            # Mapped, not read: pages come from disk when they are touched.
            values = load_file(path)["values"]
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            say(f"A damaged file in the cache is dropped and computed again: {path.name} ({error})")
            path.unlink(missing_ok=True)
            return
        self._index(keys, values)

    def _index(self, keys: Sequence[str], values: Tensor) -> None:
        for row, key in enumerate(keys):
            self._where[key] = (values, row)

    def __contains__(self, key: str) -> bool:
        return key in self._where

    def add(self, keys: Sequence[str], values: Tensor) -> None:
        """Keep values, first dimension one per key."""
        if self.folder is None:
            self._index(keys, values)
            return
        path = self.folder / f"{hash_json(list(keys))[:32]}.safetensors"
        with atomic_path(path) as part:
            save_file({"values": values.contiguous()}, part, metadata={"keys": json.dumps(list(keys))})
        self._index(keys, load_file(path)["values"])

    def take(self, keys: Sequence[str]) -> Tensor:
        """Values of the given keys, stacked; shorter ones are padded with zeros at each dimension's end."""
        values = [self._where[key][0][self._where[key][1]] for key in keys]
        shapes = {tuple(value.shape) for value in values}
        if len(shapes) == 1:
            return torch.stack(values)
        largest = tuple(max(sizes) for sizes in zip(*shapes, strict=True))
        padded = torch.zeros((len(values), *largest), dtype=values[0].dtype)
        for row, value in zip(padded, values, strict=True):
            row[tuple(slice(size) for size in value.shape)] = value
        return padded


@dataclass(frozen=True)
class CacheEntry:
    """What the cache holds of one kind: number of files and their size in bytes."""

    kind: str
    files: int
    size: int


def cache_contents() -> list[CacheEntry]:
    """What is kept between runs, by kind."""
    root = cache_folder()
    kinds = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    entries = []
    for kind in kinds:
        files = [path for path in kind.rglob("*") if path.is_file()]
        entries.append(CacheEntry(kind.name, len(files), sum(path.stat().st_size for path in files)))
    return entries


def clear_cache() -> int:
    """Remove everything that is kept between runs; returns the bytes that were freed."""
    freed = sum(entry.size for entry in cache_contents())
    for entry in cache_contents():
        shutil.rmtree(cache_folder() / entry.kind, ignore_errors=True)
    return freed
