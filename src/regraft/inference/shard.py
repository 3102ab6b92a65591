"""A shard: the activations of some pieces and the pieces' keys, in memory or as a safetensors file.

Tensors of a file:

- ``keys``: ``uint8 (pieces, 16)``;
- ``values``: all values, one piece after the other, float32 or float16;
- ``shapes`` and ``lengths``, ``int64 (pieces, dimensions)`` and ``(pieces,)``, where pieces differ in shape:
  the shape that the network gave, and how much of its first dimension is stored; the rest was padding.

A file is written under another name and renamed when it is whole, so half of one is never read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from regraft.core.files import atomic_path

KEY_BYTES = 16
_LONGEST_HEADER = 1 << 20
_TYPES = {"F32": np.float32, "F16": np.float16, "U8": np.uint8, "I64": np.int64}


@dataclass(frozen=True)
class Part:
    """Values of some pieces, fresh from the network.

    Attributes
    ----------
    keys
        ``S16 (pieces,)``.
    values
        ``Float[Tensor, "pieces ..."]``.
    lengths
        ``int64 (pieces,)``: how much of the second dimension is no padding; None where all of it is kept.
    """

    keys: np.ndarray
    values: Tensor
    lengths: np.ndarray | None = None

    @property
    def size(self) -> int:
        """Bytes."""
        return self.values.numel() * self.values.element_size()


@dataclass(frozen=True, eq=False)
class Shard:
    """Some pieces' values, where they lie.

    Attributes
    ----------
    keys
        ``S16 (pieces,)``.
    shape
        Of one piece, where all have one shape; None where they differ.
    shapes, lengths
        See above; None where all have one shape.
    path, offset, dtype
        The file that holds the values, and where in it they begin.
    memory
        The values themselves, flat, where there is no file.
    """

    keys: np.ndarray
    shape: tuple[int, ...] | None
    shapes: np.ndarray | None
    lengths: np.ndarray | None
    dtype: np.dtype[Any]
    path: Path | None = None
    offset: int = 0
    memory: np.ndarray | None = None

    @classmethod
    def of(cls, parts: Sequence[Part]) -> Shard:
        """The parts as one shard in memory."""
        keys = np.concatenate([part.keys for part in parts])
        dtype = np.result_type(*(part.values.numpy().dtype for part in parts))
        first = tuple(parts[0].values.shape[1:])
        if all(part.lengths is None and tuple(part.values.shape[1:]) == first for part in parts):
            values = torch.cat([part.values for part in parts]).numpy().reshape(-1)
            return cls(keys, first, None, None, dtype, memory=values)
        rows = [_own_rows(part, row) for part in parts for row in range(len(part.keys))]
        shapes = np.array([part.values.shape[1:] for part in parts for _ in part.keys], dtype=np.int64)
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        flat = np.concatenate([row.reshape(-1) for row in rows]).astype(dtype, copy=False)
        return cls(keys, None, shapes, lengths, dtype, memory=flat)

    @classmethod
    def read(cls, path: Path) -> Shard:
        """A shard from its file: keys and shapes are read, values stay on disk.

        Raises ``OSError``, ``ValueError`` or ``KeyError`` for a file that is damaged.
        """
        with open(path, "rb") as stream:
            start = int.from_bytes(stream.read(8), "little")
            if not 0 < start <= _LONGEST_HEADER:
                raise ValueError("no header")
            header = json.loads(stream.read(start))
            start += 8
            ends = [facts["data_offsets"][1] for name, facts in header.items() if name != "__metadata__"]
            if start + max(ends, default=0) != os.fstat(stream.fileno()).st_size:
                raise ValueError("cut short")

            def table(name: str) -> np.ndarray | None:
                if name not in header:
                    return None
                stream.seek(start + header[name]["data_offsets"][0])
                count = int(np.prod(header[name]["shape"]))
                found = np.fromfile(stream, _TYPES[header[name]["dtype"]], count)
                return found.reshape(header[name]["shape"])

            keys, shapes, lengths = table("keys"), table("shapes"), table("lengths")
        if keys is None or keys.shape[1] != KEY_BYTES or (shapes is None) != (lengths is None):
            raise ValueError("no shard")
        facts = header["values"]
        shape = tuple(facts["shape"][1:]) if shapes is None else None
        offset = start + facts["data_offsets"][0]
        flat = np.ascontiguousarray(keys).view(f"S{KEY_BYTES}").reshape(-1)
        return cls(flat, shape, shapes, lengths, np.dtype(_TYPES[facts["dtype"]]), path, offset)

    def write(self, path: Path) -> None:
        """Write a shard that is in memory; whole or not at all, whatever happens."""
        assert self.memory is not None
        tensors = {"keys": torch.from_numpy(self.keys.view(np.uint8).reshape(-1, KEY_BYTES).copy())}
        tensors["values"] = torch.from_numpy(self.memory)
        if self.shapes is None or self.lengths is None:
            assert self.shape is not None
            tensors["values"] = tensors["values"].view(len(self.keys), *self.shape)
        else:
            tensors |= {"shapes": torch.from_numpy(self.shapes), "lengths": torch.from_numpy(self.lengths)}
        with atomic_path(path) as part:
            save_file(tensors, part)

    def shapes_of(self, rows: np.ndarray) -> np.ndarray:
        """The shapes that the network gave for some rows, ``int64 (rows, dimensions)``."""
        if self.shapes is not None:
            return self.shapes[rows]
        return np.tile(np.array(self.shape, dtype=np.int64), (len(rows), 1))

    def copy_into(self, out: np.ndarray, places: np.ndarray, rows: np.ndarray) -> None:
        """Copy the values of ``rows`` to ``out[places]``. A file is mapped for as long as this takes: pages
        that were touched count as this process's memory only until then.
        """
        flat = self._flat()
        if self.shape is not None:
            values = flat.reshape(len(self.keys), *self.shape)
            for place, row in zip(places.tolist(), rows.tolist(), strict=True):
                out[(place, *map(slice, self.shape))] = values[row]
            return
        assert self.shapes is not None
        assert self.lengths is not None
        sizes = self.lengths * self.shapes[:, 1:].prod(axis=1)
        ends = np.cumsum(sizes)
        for place, row in zip(places.tolist(), rows.tolist(), strict=True):
            shape = (int(self.lengths[row]), *self.shapes[row, 1:].tolist())
            own = flat[ends[row] - sizes[row] : ends[row]].reshape(shape)
            out[(place, *map(slice, shape))] = own

    def _flat(self) -> np.ndarray:
        if self.memory is not None:
            return self.memory
        assert self.path is not None
        if self.shapes is not None and self.lengths is not None:
            count = int((self.lengths * self.shapes[:, 1:].prod(axis=1)).sum())
        else:
            count = len(self.keys) * int(np.prod(self.shape or ()))
        return np.memmap(self.path, self.dtype, "r", self.offset, (count,))


def _own_rows(part: Part, row: int) -> np.ndarray:
    values: np.ndarray = part.values[row].numpy()
    return values if part.lengths is None else values[: part.lengths[row]]
