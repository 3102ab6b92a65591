"""NumPy archives (.npz): one array per member, stored or deflated, under the name of the member."""

from __future__ import annotations

import math
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from regraft.core.errors import SourceError, UnsafeFileError
from regraft.sources.checkpoint import archive
from regraft.sources.checkpoint.archive import Member
from regraft.sources.checkpoint.checkpoint import Entry
from regraft.sources.checkpoint.limits import checked_shape, damage_named
from regraft.sources.checkpoint.memory import buffer, fresh, swap

DTYPES = {
    "b1": torch.bool,
    "i1": torch.int8,
    "u1": torch.uint8,
    "i2": torch.int16,
    "u2": torch.uint16,
    "i4": torch.int32,
    "u4": torch.uint32,
    "i8": torch.int64,
    "u8": torch.uint64,
    "f2": torch.float16,
    "f4": torch.float32,
    "f8": torch.float64,
    "c8": torch.complex64,
    "c16": torch.complex128,
    "V2": torch.bfloat16,  # what NumPy calls JAX's bfloat16, which it does not know
}
"""NumPy's names for types, without the order of bytes."""
_TEXT = "USaMm"  # kinds that are no numbers: text, dates
_MAGIC = b"\x93NUMPY"
_LONGEST = 65_536  # bytes of an array's header
_CHUNK = 1 << 20
# NumPy writes nothing else; its own reader evaluates the header as Python.
_HEADER = re.compile(
    r"\{\s*'descr':\s*(?P<descr>'[^']{1,20}'|\[.*\]),\s*'fortran_order':\s*(?P<fortran>True|False),"
    r"\s*'shape':\s*\((?P<shape>[\d\s,L]*)\),?\s*\}\s*",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class _Array:
    """What an array's header says, and how many bytes it takes itself."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    swapped: bool
    fortran: bool
    header: int


def read_entries(path: Path) -> tuple[dict[str, Entry], list[str]]:
    """The arrays of an archive, and which of them hold text and were passed over."""
    entries: dict[str, Entry] = {}
    text: list[str] = []
    with damage_named(path, "a NumPy archive"):
        for member in archive.members(path).values():
            name = member.name.removesuffix(".npy")
            if name == member.name:
                raise ValueError(f"member {name[:80]!r} is no array (.npy)")
            array = _array(path, name, member)
            if array is None:
                text.append(name)
            else:
                entries[name] = Entry(array.shape, array.dtype, partial(_read, path, member, array))
    return entries, [f"passed over {', '.join(text[:4])}: text, no numbers"] if text else []


def _array(path: Path, name: str, member: Member) -> _Array | None:
    """The header of an array; None for text."""
    where = f"{path}: array {name[:80]!r}"
    descr, fortran, shape, header = _header(path, member)
    if descr.startswith("["):
        raise SourceError(f"{where} has several fields; only plain arrays are read")
    order, kind = descr[0], descr[1:]
    if kind[:1] == "O":
        raise UnsafeFileError(
            f"{where} holds Python objects, a pickle that may run code; it is refused. "
            "Save plain arrays: numpy.savez('weights.npz', **arrays)"
        )
    if kind[:1] in _TEXT:
        return None
    if order not in "<>|=" or kind not in DTYPES:
        raise SourceError(f"{where} has the type {descr!r}, which torch does not know")
    checked = checked_shape(where, shape)
    size = math.prod(checked) * DTYPES[kind].itemsize
    if header + size != member.size:
        raise SourceError(
            f"{where} is damaged: it has {member.size - header:,} bytes and should have {size:,}"
        )
    return _Array(
        checked, DTYPES[kind], order == ">" and kind[1:] != "1", fortran and len(checked) > 1, header
    )


def _header(path: Path, member: Member) -> tuple[str, bool, tuple[int, ...], int]:
    """Type, order and shape of an array, and the bytes that its header takes."""
    stream = _unpacked(path, member, chunk=1 << 10)
    data = b""
    while len(data) < 12 and (more := next(stream, b"")):
        data += more
    if data[:6] != _MAGIC or data[6] not in (1, 2, 3):
        raise ValueError(f"member {member.name[:80]!r} is no array: it starts with {data[:6]!r}")
    start = 10 if data[6] == 1 else 12
    (length,) = struct.unpack("<H" if data[6] == 1 else "<I", data[8:start])
    if length > _LONGEST:
        raise ValueError(f"the header of {member.name[:80]!r} has {length:,} bytes")
    while len(data) < start + length and (more := next(stream, b"")):
        data += more
    text = data[start : start + length].decode("utf-8" if data[6] == 3 else "latin-1")
    match = _HEADER.fullmatch(text)
    if match is None:
        raise ValueError(f"the header of {member.name[:80]!r} is not NumPy's: {text[:80]!r}")
    lengths = [part.strip().removesuffix("L") for part in match["shape"].split(",")]
    shape = tuple(int(part) for part in lengths if part)
    return match["descr"].strip("'"), match["fortran"] == "True", shape, start + length


def _read(path: Path, member: Member, array: _Array) -> Tensor:
    shape = array.shape[::-1] if array.fortran else array.shape
    tensor = fresh(path, shape, array.dtype)
    with damage_named(path, "a NumPy archive"):
        _fill(path, member, array.header, buffer(tensor))
    if array.swapped:
        swap(tensor)
    if array.fortran:
        tensor = tensor.permute(*range(len(shape))[::-1]).contiguous()
    return tensor


def _fill(path: Path, member: Member, skipped: int, target: memoryview) -> None:
    """The member's bytes after the first few, checked against the archive's checksum."""
    checksum, done, wanted = 0, -skipped, len(target)
    for part in _unpacked(path, member):
        checksum = zlib.crc32(part, checksum)
        begin = max(-done, 0)
        piece = part[begin:]
        at = done + begin
        if at + len(piece) > wanted:
            raise ValueError(f"member {member.name[:80]!r} unpacks to more bytes than it says")
        if piece:
            target[at : at + len(piece)] = piece
        done += len(part)
    if done != wanted:
        raise EOFError(f"member {member.name[:80]!r} ends too early: {wanted - done:,} bytes are missing")
    if checksum != member.checksum:
        raise ValueError(f"member {member.name[:80]!r} does not have the checksum that the archive says")


def _unpacked(path: Path, member: Member, chunk: int = _CHUNK) -> Iterator[bytes]:
    """The member's bytes in pieces of bounded size."""
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    with open(path, "rb", buffering=0) as stream:
        stream.seek(archive.place(path, member))
        left = member.packed
        while left and (packed := stream.read(min(chunk, left))):
            left -= len(packed)
            if not member.deflated:
                yield packed
                continue
            while packed:
                yield unpacker.decompress(packed, chunk)
                packed = unpacker.unconsumed_tail
    if member.deflated:
        yield unpacker.flush()
