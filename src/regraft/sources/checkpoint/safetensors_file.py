"""Safetensors: the header is checked here and by its own library, each tensor is read from its place."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from regraft.core.errors import SourceError
from regraft.sources.checkpoint.checkpoint import Entry
from regraft.sources.checkpoint.limits import MAX_HEADER, MAX_TENSORS, checked_shape, damage_named
from regraft.sources.checkpoint.memory import entry_at

_DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "U16": torch.uint16,
    "I16": torch.int16,
    "U32": torch.uint32,
    "I32": torch.int32,
    "U64": torch.uint64,
    "I64": torch.int64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
    "F8_E8M0": torch.float8_e8m0fnu,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
    "C64": torch.complex64,
}
_LENGTH = 8  # bytes of the number that the file starts with


def read_entries(path: Path) -> dict[str, Entry]:
    """The tensors of a safetensors file."""
    with damage_named(path, "a safetensors file"):
        header, start = _header(path)
        header.pop("__metadata__", None)
        if len(header) > MAX_TENSORS:
            raise SourceError(f"{path} holds {len(header):,} tensors; at most {MAX_TENSORS:,} are read")
        _check_offsets(path, header, path.stat().st_size - start)
        entries = {name: _entry(path, start, name, told) for name, told in header.items()}
    _ask_library(path, len(entries))
    return entries


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose keys are all different; for ``json.loads``."""
    made = dict(pairs)
    if len(made) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the name {twice[:80]!r} stands there twice")
    return made


def _header(path: Path) -> tuple[dict[str, Any], int]:
    size = path.stat().st_size
    with open(path, "rb") as stream:
        length = int.from_bytes(stream.read(_LENGTH), "little")
        if size < _LENGTH or length > size - _LENGTH:
            raise ValueError(f"its header would have {length:,} bytes, and the file has {size:,}")
        if length > MAX_HEADER:
            raise ValueError(f"its header has {length:,} bytes; at most {MAX_HEADER:,} are read")
        header = json.loads(stream.read(length).decode("utf-8"), object_pairs_hook=unique)
    if not isinstance(header, dict):
        raise TypeError("its header is not a JSON object")
    return header, _LENGTH + length


def _check_offsets(path: Path, header: Mapping[str, Any], size: int) -> None:
    """Tensors follow each other and end with the file: no gap, no overlap."""
    end, last = 0, ""
    for name, told in sorted(header.items(), key=lambda item: _offsets(*item)):
        start, stop = _offsets(name, told)
        if start != end:
            relation = f"overlaps {last!r}" if start < end else "leaves a gap before it"
            raise SourceError(f"{path} is damaged: tensor {name[:80]!r} at bytes {start}..{stop} {relation}")
        end, last = stop, name[:80]
    if end != size:
        what = "ends too early" if end > size else "goes on after its last tensor"
        raise SourceError(
            f"{path} is damaged: it {what}: its tensors take {end:,} bytes, it has {size:,} for them"
        )


def _offsets(name: str, told: Any) -> tuple[int, int]:
    offsets = told.get("data_offsets") if isinstance(told, dict) else None
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(type(o) is int for o in offsets):
        raise ValueError(f"tensor {name[:80]!r} has no data_offsets")
    if not 0 <= offsets[0] <= offsets[1]:
        raise ValueError(f"tensor {name[:80]!r} has the data_offsets {str(offsets)[:80]}")
    return offsets[0], offsets[1]


def _entry(path: Path, start: int, name: str, told: Mapping[str, Any]) -> Entry:
    where = f"{path} is damaged: tensor {name[:80]!r}"
    dtype = _DTYPES.get(told.get("dtype")) if isinstance(told.get("dtype"), str) else None  # type: ignore[arg-type]
    if dtype is None:
        known = ", ".join(_DTYPES)
        raise SourceError(
            f"{where} has the dtype {str(told.get('dtype'))[:40]!r}; those that are read: {known}"
        )
    entry = entry_at(path, start + _offsets(name, told)[0], checked_shape(where, told.get("shape")), dtype)
    begin, end = _offsets(name, told)
    if entry.size != end - begin:
        raise SourceError(
            f"{where} has the shape {entry.shape} and {end - begin:,} bytes; it should have {entry.size:,}"
        )
    return entry


def _ask_library(path: Path, count: int) -> None:
    """The format's own library has the last word on what is a valid file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            held = len(file.keys())
    except (SafetensorError, OSError, ValueError) as error:
        raise SourceError(f"{path} is damaged or not a safetensors file: {error}") from error
    if held != count:
        raise SourceError(
            f"{path} is damaged: its own library finds {held} tensors, its header names {count}"
        )
