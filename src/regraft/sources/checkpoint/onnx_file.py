"""ONNX: the initialisers of a model's graph, found in the file without building the model.

The numbers of the fields are those of ``onnx.proto``: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from __future__ import annotations

import math
import mmap
from array import array
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from regraft.core.errors import SourceError
from regraft.sources.checkpoint import protobuf
from regraft.sources.checkpoint.checkpoint import Entry
from regraft.sources.checkpoint.limits import MAX_NAME, MAX_TENSORS, checked_shape, damage_named, is_file
from regraft.sources.checkpoint.memory import check_sizes, entry_at, fresh
from regraft.sources.checkpoint.sharded import beside

_GRAPH, _INITIALIZER, _SPARSE = 7, 5, 15  # ModelProto.graph, GraphProto.initializer and .sparse_initializer
_DIMS, _TYPE, _NAME, _RAW, _EXTERNAL, _LOCATION = 1, 2, 8, 9, 13, 14  # TensorProto
_FLOATS, _INTS, _LONGS, _DOUBLES, _UNSIGNED = 4, 5, 7, 10, 11  # TensorProto's typed values
_DTYPES = {
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    4: torch.uint16,
    5: torch.int16,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float16,
    11: torch.float64,
    12: torch.uint32,
    13: torch.uint64,
    14: torch.complex64,
    15: torch.complex128,
    16: torch.bfloat16,
    17: torch.float8_e4m3fn,
    18: torch.float8_e4m3fnuz,
    19: torch.float8_e5m2,
    20: torch.float8_e5m2fnuz,
    24: torch.float8_e8m0fnu,
}
_STRING = 8
_IN_PLACE = {_FLOATS: (torch.float32, torch.complex64), _DOUBLES: (torch.float64, torch.complex128)}
# Values of these types lie in ``int32_data`` as their bits, a number each.
_AS_BITS = {1: torch.uint8, 2: torch.int16}
_MASKS = {torch.uint8: 0xFF, torch.int16: 0xFFFF}


@dataclass
class _Initialiser:
    """What the file says of one tensor; places are where bytes begin and end."""

    name: str = ""
    kind: int = 0
    shape: list[int] = field(default_factory=list)
    raw: tuple[int, int] | None = None
    typed: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    external: dict[str, str] = field(default_factory=dict)
    outside: bool = False


def read_entries(path: Path) -> tuple[dict[str, Entry], list[str]]:
    """The initialisers of a model, and what was passed over: text, sparse ones."""
    entries: dict[str, Entry] = {}
    with damage_named(path, "an ONNX model"):
        found, sparse = _initialisers(path)
        passed = [f"{count} {what} initialisers" for what, count in (("sparse", sparse),) if count]
        text = [told.name for told in found if told.kind == _STRING]
        passed += [f"{name} (text)" for name in text[:4]]
        for told in found:
            if told.name in entries:
                raise ValueError(f"it has two initialisers of the name {told.name[:80]!r}")
            if told.kind != _STRING:
                entries[told.name] = _entry(path, told)
        files = {path, *(_external_file(path, told) for told in found if told.outside)}
        check_sizes(path, entries, sum(file.stat().st_size for file in files))
    return entries, [f"passed over {', '.join(passed)}"] if passed else []


def _initialisers(path: Path) -> tuple[list[_Initialiser], int]:
    """The dense initialisers of the graph, and the number of sparse ones."""
    found: list[_Initialiser] = []
    sparse = 0
    with open(path, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        graphs = [
            part for part in protobuf.fields(data, 0, len(data)) if part[:2] == (_GRAPH, protobuf.BYTES)
        ]
        if not graphs:
            raise ValueError("it has no graph")
        for _, _, begin, end in graphs:
            for number, wire, start, stop in protobuf.fields(data, begin, end):
                sparse += number == _SPARSE
                if number == _INITIALIZER and wire == protobuf.BYTES:
                    found.append(_initialiser(data, start, stop))
                if len(found) > MAX_TENSORS:
                    raise ValueError(f"it has more than {MAX_TENSORS:,} initialisers")
    return found, sparse


def _initialiser(data: mmap.mmap, begin: int, end: int) -> _Initialiser:
    told = _Initialiser()
    for number, wire, start, stop in protobuf.fields(data, begin, end):
        if number == _DIMS:
            packed = wire == protobuf.BYTES
            _limit(stop - start if packed else len(told.shape), 1000)
            told.shape += protobuf.varints(data, start, stop) if packed else [protobuf.signed(start)]
        elif number == _TYPE and wire == protobuf.VARINT:
            told.kind = start
        elif number == _LOCATION and wire == protobuf.VARINT:
            told.outside = start == 1
        elif wire == protobuf.BYTES and number == _NAME:
            _limit(stop - start, 4 * MAX_NAME)
            told.name = data[start:stop].decode("utf-8")
        elif wire == protobuf.BYTES and number == _RAW:
            told.raw = (start, stop)
        elif wire == protobuf.BYTES and number == _EXTERNAL:
            _limit(stop - start, 10_000)
            told.external.update(_pair(data, start, stop))
        elif number in (_FLOATS, _INTS, _LONGS, _DOUBLES, _UNSIGNED):
            if wire != protobuf.BYTES:
                raise ValueError(f"initialiser {told.name[:80]!r} has values that are not packed")
            told.typed.setdefault(number, []).append((start, stop))
    return told


def _pair(data: mmap.mmap, begin: int, end: int) -> dict[str, str]:
    """A ``StringStringEntryProto`` as a dict of one."""
    parts = {
        number: data[start:stop].decode("utf-8")
        for number, wire, start, stop in protobuf.fields(data, begin, end)
        if wire == protobuf.BYTES
    }
    return {parts.get(1, ""): parts.get(2, "")}


def _limit(length: int, most: int) -> None:
    if length > most:
        raise ValueError(f"a name or shape takes {length:,} bytes; at most {most:,} are read")


def _entry(path: Path, told: _Initialiser) -> Entry:
    where = f"{path} is damaged: initialiser {told.name[:80]!r}"
    dtype = _DTYPES.get(told.kind)
    if dtype is None:
        raise SourceError(f"{where} has the type number {told.kind}, which torch does not know")
    shape = checked_shape(where, told.shape)
    size = math.prod(shape) * dtype.itemsize
    if told.outside:
        return _external(path, where, told, shape, dtype)
    if told.raw is not None:
        if told.raw[1] - told.raw[0] != size:
            raise SourceError(f"{where} has {told.raw[1] - told.raw[0]:,} bytes and should have {size:,}")
        return entry_at(path, told.raw[0], shape, dtype)
    parts = [part for number in told.typed for part in told.typed[number]]
    if len(told.typed) > 1 or (len(parts) != 1 and size):
        raise SourceError(f"{where} has its values in {len(parts)} places and should have them in one")
    if not size:
        return entry_at(path, 0, shape, dtype)
    return _typed(path, where, next(iter(told.typed)), parts[0], shape, dtype)


def _typed(
    path: Path, where: str, number: int, part: tuple[int, int], shape: tuple[int, ...], dtype: torch.dtype
) -> Entry:
    """Values that are not raw: floats lie there as they are, whole numbers seven bits to a byte."""
    length, count = part[1] - part[0], math.prod(shape)
    if number in (_FLOATS, _DOUBLES):
        if dtype not in _IN_PLACE[number] or length != count * dtype.itemsize:
            raise SourceError(f"{where} has {length:,} bytes of values, which do not fit its type and shape")
        return entry_at(path, part[0], shape, dtype)
    if count > length or length > 10 * count:
        raise SourceError(f"{where} has {length:,} bytes of values for a shape of {count:,}")
    return Entry(shape, dtype, partial(_read_varints, path, part, shape, dtype))


def _read_varints(path: Path, part: tuple[int, int], shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    with damage_named(path, "an ONNX model"):
        with open(path, "rb") as stream:
            stream.seek(part[0])
            data = stream.read(part[1] - part[0])
        values = array("q", protobuf.varints(data, 0, len(data)))
        if len(values) != math.prod(shape):
            raise ValueError(
                f"an initialiser has {len(values):,} values and should have {math.prod(shape):,}"
            )
        numbers = torch.frombuffer(values, dtype=torch.int64)
        bits = _AS_BITS.get(dtype.itemsize) if dtype.is_floating_point else None
        if bits is not None:
            return (numbers & _MASKS[bits]).to(bits).view(dtype).reshape(shape)
        return fresh(path, shape, dtype).copy_(numbers.reshape(shape))


def _external(
    path: Path, where: str, told: _Initialiser, shape: tuple[int, ...], dtype: torch.dtype
) -> Entry:
    """Values in another file, which has to lie in the same folder."""
    file = _external_file(path, told)
    offset = int(told.external.get("offset", "0"))
    size = math.prod(shape) * dtype.itemsize
    length = int(told.external.get("length", str(size)))
    if length != size or offset < 0 or offset + size > file.stat().st_size:
        raise SourceError(
            f"{where} should have {size:,} bytes from {offset:,} on in {file.name[:80]!r}, "
            f"which has {file.stat().st_size:,} bytes (and {length:,} are named)"
        )
    return entry_at(file, offset, shape, dtype)


def _external_file(path: Path, told: _Initialiser) -> Path:
    location = told.external.get("location", "")
    file = beside(path, location.removeprefix("./"), "external data")
    if not is_file(file):
        raise SourceError(f"{path} keeps its tensors in {location[:80]!r}, which is not there")
    return file
