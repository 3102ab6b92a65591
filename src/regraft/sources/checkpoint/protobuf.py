"""The wire format of protocol buffers, as far as finding fields in a file needs it; nothing is copied."""

from __future__ import annotations

import mmap
from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_WIDTHS = {FIXED64: 8, FIXED32: 4}

Field = tuple[int, int, int, int]
"""Number of the field, its wire type, and where its value begins and ends (for varints: the value, twice)."""


def fields(data: bytes | mmap.mmap, start: int, end: int) -> Iterator[Field]:
    """The fields of the message in these bytes. Raises ``ValueError`` for what is no message."""
    while start < end:
        key, start = varint(data, start, end)
        number, wire = key >> 3, key & 7
        if number == 0:
            raise ValueError("a field has the number 0")
        if wire == VARINT:
            value, start = varint(data, start, end)
            yield number, wire, value, value
            continue
        if wire == BYTES:
            length, start = varint(data, start, end)
        elif wire in _WIDTHS:
            length = _WIDTHS[wire]
        else:
            raise ValueError(f"a field has the wire type {wire}")
        if length > end - start:
            raise EOFError(f"it ends too early: a field of {length:,} bytes has {end - start:,}")
        yield number, wire, start, start + length
        start += length


def varint(data: bytes | mmap.mmap, start: int, end: int) -> tuple[int, int]:
    """The whole number that begins here, seven bits to a byte, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if start >= end:
            raise EOFError("it ends too early, within a number")
        byte = data[start]
        start += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, start
    raise ValueError("a number has more than 64 bits")


def signed(value: int) -> int:
    """A number as the 64 bits with a sign that it stands for."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


def varints(data: bytes | mmap.mmap, start: int, end: int) -> Iterator[int]:
    """The numbers packed into these bytes."""
    while start < end:
        value, start = varint(data, start, end)
        yield signed(value)
