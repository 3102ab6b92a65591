"""A safetensors file that is written row by row, so that what does not fit into memory can be written too.

The format puts the header first, and the header holds the sizes, which are known last. So room is left for
it, filled in at the end and padded with spaces, which the format allows
(https://github.com/huggingface/safetensors, "Format").
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from regraft.core.files import atomic_path

_ALIGNED = 8
_FRAME = 4096  # bytes of a header beside its metadata: a handful of tensors
_KINDS = {"float32": "F32", "int32": "I32"}


class RowWriter:
    """Rows of one tensor, ``float32``, then whole tensors beside it."""

    def __init__(self, stream: BinaryIO, name: str, room: int):
        self._stream, self._name = stream, name
        self._room = -(-(room + _FRAME) // _ALIGNED) * _ALIGNED
        self._shape: tuple[int, ...] | None = None
        self.rows = 0
        stream.seek(8 + self._room)

    def add(self, rows: np.ndarray) -> None:
        """Append rows, all of one shape."""
        values = np.ascontiguousarray(rows, dtype=np.float32)
        if self._shape is None:
            self._shape = values.shape[1:]
        if values.shape[1:] != self._shape:
            raise ValueError(f"rows of the shape {values.shape[1:]} after rows of the shape {self._shape}")
        self._stream.write(values.tobytes())
        self.rows += len(values)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the rows so far."""
        return (self.rows, *(self._shape or (0,)))

    def finish(self, beside: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
        """Append small tensors and write the header; ``metadata`` has to fit into the room left for it."""
        shape = self.shape
        entries = {self._name: ("float32", shape, 4 * int(np.prod(shape)))}
        for name, values in beside.items():
            self._stream.write(np.ascontiguousarray(values).tobytes())
            entries[name] = (str(values.dtype), values.shape, values.nbytes)
        header: dict[str, object] = {"__metadata__": dict(metadata)}
        start = 0
        for name, (kind, sizes, size) in entries.items():
            header[name] = {
                "dtype": _KINDS[kind],
                "shape": list(sizes),
                "data_offsets": [start, start + size],
            }
            start += size
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        if len(text) > self._room:
            raise ValueError(f"a header of {len(text)} bytes does not fit into {self._room}")
        self._stream.seek(0)
        self._stream.write(self._room.to_bytes(8, "little") + text.ljust(self._room))


@contextmanager
def row_writer(path: str | Path, name: str, *, room: int) -> Iterator[RowWriter]:
    """Write a safetensors file atomically: rows of the tensor ``name`` first, then what is beside them.

    Parameters
    ----------
    room
        Bytes that the metadata may take at most, as JSON.
    """
    with atomic_path(path) as part, open(part, "wb") as stream:
        yield RowWriter(stream, name, room)
