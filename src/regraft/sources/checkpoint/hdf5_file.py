"""HDF5: another process says where each dataset's bytes lie; they are read here without its library."""

from __future__ import annotations

import base64
import json
import math
import os
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from regraft.core.errors import SourceError, UnsafeFileError
from regraft.core.optional import require
from regraft.sources.checkpoint import hdf5_listing
from regraft.sources.checkpoint.checkpoint import Entry
from regraft.sources.checkpoint.limits import checked_shape, damage_named
from regraft.sources.checkpoint.memory import buffer, check_sizes, fresh, read_at, swap
from regraft.sources.checkpoint.numpy_file import DTYPES

_DEFLATE, _SHUFFLE, _FLETCHER32 = 1, 2, 3
_FILTERS = (_DEFLATE, _SHUFFLE, _FLETCHER32)
_LONGEST = 1 << 28  # bytes of a listing
_PATIENCE = 120  # seconds
# No plug-ins, no locks, and no threads that would each reserve memory.
_SURROUNDINGS = {"HDF5_PLUGIN_PRELOAD": "::", "HDF5_USE_FILE_LOCKING": "FALSE", "OPENBLAS_NUM_THREADS": "1"}
_MOST_RATIO = 100


def read_listing(path: Path) -> dict[str, Any]:
    """What the file holds, as ``hdf5_listing`` finds it.

    Raises ``MissingPackageError``, ``UnsafeFileError`` if the file reaches for others, ``SourceError`` if it
    is damaged, also where the HDF5 library crashes over it.
    """
    require("h5py", "Reading HDF5 files", "regraft[keras]")
    command = [sys.executable, "-P", hdf5_listing.__file__, str(path.resolve())]
    with tempfile.TemporaryFile() as output:
        try:
            ended = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **_SURROUNDINGS},
                timeout=_PATIENCE,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise SourceError(
                f"{path} is damaged: the HDF5 library did not come to an end with it"
            ) from error
        if ended.returncode or output.tell() > _LONGEST:
            raise SourceError(
                f"{path} is damaged: the HDF5 library crashed over it (status {ended.returncode}); "
                "it ran in a process of its own"
            )
        output.seek(0)
        listing: dict[str, Any] = json.load(output)
    check_answer(path, listing)
    return listing


def check_answer(path: Path, listing: Mapping[str, Any]) -> None:
    """Raise what the other process has to say against the file."""
    if "refused" in listing:
        kind = UnsafeFileError if listing["unsafe"] else SourceError
        raise kind(f"{path} is refused: {listing['refused']}")
    if "damaged" in listing:
        raise SourceError(f"{path} is damaged or not an HDF5 file: {listing['damaged']}")


def entries_of(path: Path, listing: Mapping[str, Any]) -> dict[str, Entry]:
    """The datasets of a listing as entries, by their paths in the file."""
    with damage_named(path, "an HDF5 file"):
        entries = {told["name"]: _entry(path, told) for told in listing["datasets"]}
        check_sizes(path, entries, _MOST_RATIO // 8 * path.stat().st_size)
    return entries


def _entry(path: Path, told: Mapping[str, Any]) -> Entry:
    where = f"{path}: dataset {told['name'][:80]!r}"
    shape = checked_shape(where, told["shape"])
    dtype = DTYPES.get(told["dtype"][1:])
    if dtype is None:
        raise SourceError(f"{where} has the type {told['dtype']!r}, which torch does not know")
    swapped = told["dtype"][0] == ">" and dtype.itemsize > 1
    size = math.prod(shape) * dtype.itemsize
    if "inline" in told:
        data = base64.b64decode(told["inline"])
        if len(data) != size:
            raise SourceError(f"{where} has {len(data):,} bytes and should have {size:,}")
        return Entry(shape, dtype, partial(_inline, path, data, shape, dtype, swapped))
    if "chunk" in told:
        _check_chunks(path, where, told, dtype.itemsize)
        return Entry(shape, dtype, partial(_chunked, path, told, shape, dtype, swapped))
    offset = told["offset"] if size else 0
    if offset is None:
        raise SourceError(f"{where} was made and never filled: it has no values")
    if offset < 0 or offset + size > path.stat().st_size:
        raise SourceError(f"{where} reaches beyond the file: {size:,} bytes from {offset:,} on")
    return Entry(shape, dtype, partial(_contiguous, path, offset, shape, dtype, swapped))


def _check_chunks(path: Path, where: str, told: Mapping[str, Any], width: int) -> None:
    """Every chunk is there once, inside the file, and small enough to be unpacked."""
    shape, chunk, places = told["shape"], told["chunk"], told["places"]
    strange = [code for code in told["filters"] if code not in _FILTERS]
    if strange:
        raise SourceError(
            f"{where} is compressed with HDF5 filter {strange[0]}; save it with gzip or without"
        )
    if len(chunk) != len(shape) or any(length < 1 for length in chunk):
        raise SourceError(f"{where} is damaged: its chunks have the shape {chunk}")
    wanted = math.prod(-(-length // part) for length, part in zip(shape, chunk, strict=True))
    starts = {tuple(place[0]) for place in places}
    if len(places) != wanted or len(starts) != wanted:
        raise SourceError(
            f"{where} has {len(starts):,} of its {wanted:,} chunks; the others were never filled"
        )
    size = path.stat().st_size
    for start, _, offset, length in places:
        outside = any(
            at % part or not 0 <= at < max(whole, 1)
            for at, part, whole in zip(start, chunk, shape, strict=True)
        )
        if outside or offset < 0 or length < 0 or offset + length > size:
            raise SourceError(f"{where} is damaged: a chunk lies outside")
    held = sum(place[3] for place in places)
    if len(places) * math.prod(chunk) * width > max(_MOST_RATIO * held, 1 << 26):
        raise UnsafeFileError(f"{where} is a bomb: {held:,} bytes would unpack to a hundred times as many")


def _contiguous(path: Path, offset: int, shape: tuple[int, ...], dtype: torch.dtype, swapped: bool) -> Tensor:
    tensor = read_at(path, offset, shape, dtype)
    return swap(tensor) if swapped else tensor


def _inline(path: Path, data: bytes, shape: tuple[int, ...], dtype: torch.dtype, swapped: bool) -> Tensor:
    tensor = fresh(path, shape, dtype)
    buffer(tensor)[:] = data
    return swap(tensor) if swapped else tensor


def _chunked(
    path: Path, told: Mapping[str, Any], shape: tuple[int, ...], dtype: torch.dtype, swapped: bool
) -> Tensor:
    tensor = fresh(path, shape, dtype)
    chunk: list[int] = told["chunk"]
    size = math.prod(chunk) * dtype.itemsize
    with damage_named(path, "an HDF5 file"), open(path, "rb", buffering=0) as stream:
        for start, mask, offset, length in told["places"]:
            stream.seek(offset)
            filters = [code for bit, code in enumerate(told["filters"]) if not mask >> bit & 1]
            data = _unfiltered(stream.read(length), filters, size, dtype.itemsize)
            part = torch.frombuffer(data, dtype=dtype).reshape(chunk)
            inside = [min(c, whole - at) for at, c, whole in zip(start, chunk, shape, strict=True)]
            target = tensor[tuple(slice(at, at + n) for at, n in zip(start, inside, strict=True))]
            target.copy_(part[tuple(slice(n) for n in inside)])
    return swap(tensor) if swapped else tensor


def _unfiltered(data: bytes, filters: list[int], size: int, width: int) -> bytearray:
    """A chunk's bytes before its filters, which are undone last to first."""
    for code in reversed(filters):
        if code == _DEFLATE:
            unpacker = zlib.decompressobj()
            data = unpacker.decompress(data, size + 4)  # a checksum may lie before it
        elif code == _FLETCHER32:
            data = data[:-4]
        elif width > 1:
            data = _unshuffled(data, width)
    if len(data) != size:
        raise struct.error(f"a chunk has {len(data):,} bytes and should have {size:,}")
    return bytearray(data)


def _unshuffled(data: bytes, width: int) -> bytes:
    """Bytes of numbers that were stored first bytes first."""
    flat = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    return bytes(flat.reshape(width, -1).t().contiguous().numpy())
