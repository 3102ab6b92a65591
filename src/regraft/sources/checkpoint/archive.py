"""Zip archives as torch and NumPy write them: where each member lies, checked against the file."""

from __future__ import annotations

import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path

from regraft.core.errors import UnsafeFileError
from regraft.sources.checkpoint.limits import MAX_TENSORS

_LOCAL = struct.Struct("<4s5H3I2H")
_METHODS = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflated"}
_SMALL = 1 << 26
_MOST_RATIO = 100  # weights compress to no hundredth of their size; a bomb does to a thousandth
_ENCRYPTED = 1


@dataclass(frozen=True, slots=True)
class Member:
    """One member of an archive: where its header lies, the bytes it takes, what it unpacks to."""

    name: str
    header: int
    packed: int
    size: int
    deflated: bool
    checksum: int


def members(path: Path) -> dict[str, Member]:
    """The members by name, in order. Nothing is unpacked.

    Raises ``UnsafeFileError`` for archives that are made to deceive: members that lie over each other, have
    one name, or unpack to a hundred times their size; and what zipfile raises at damage.
    """
    with zipfile.ZipFile(path) as archive:
        told = [item for item in archive.infolist() if not item.is_dir()]
        end = archive.start_dir
    if len(told) > MAX_TENSORS + 100:
        raise UnsafeFileError(
            f"{path} is an archive of {len(told):,} members; at most {MAX_TENSORS:,} are read"
        )
    found = {item.filename: _member(path, item) for item in told}
    if len(found) != len(told):
        raise UnsafeFileError(f"{path} is an archive that has two members of one name; it is refused")
    _check_places(path, list(found.values()), end)
    _check_ratio(path, list(found.values()))
    return found


def place(path: Path, member: Member) -> int:
    """Where a member's bytes begin in the file."""
    with open(path, "rb") as stream:
        stream.seek(member.header)
        signature, *_, name, extra = _LOCAL.unpack(stream.read(_LOCAL.size))
    start: int = member.header + _LOCAL.size + name + extra
    if signature != b"PK\x03\x04" or start + member.packed > path.stat().st_size:
        raise zipfile.BadZipFile(f"member {member.name[:80]!r} does not lie where the directory says")
    return start


def _member(path: Path, item: zipfile.ZipInfo) -> Member:
    if item.flag_bits & _ENCRYPTED:
        raise UnsafeFileError(f"{path} is an encrypted archive; decrypt it first")
    if item.compress_type not in _METHODS:
        raise zipfile.BadZipFile(f"member {item.filename[:80]!r} is compressed in a way that is not read")
    deflated = item.compress_type == zipfile.ZIP_DEFLATED
    if not deflated and item.compress_size != item.file_size:
        raise zipfile.BadZipFile(f"member {item.filename[:80]!r} has two different sizes")
    return Member(item.filename, item.header_offset, item.compress_size, item.file_size, deflated, item.CRC)


def _check_places(path: Path, found: list[Member], end: int) -> None:
    ordered = sorted(found, key=lambda member: member.header)
    following = [member.header for member in ordered[1:]] + [end]
    for member, limit in zip(ordered, following, strict=True):
        if member.header + _LOCAL.size + member.packed > limit:
            raise UnsafeFileError(
                f"{path} is an archive whose member {member.name[:80]!r} lies over the next; it is refused"
            )


def _check_ratio(path: Path, found: list[Member]) -> None:
    size, packed = sum(member.size for member in found), sum(member.packed for member in found)
    if size > max(_MOST_RATIO * packed, _SMALL):
        raise UnsafeFileError(
            f"{path} is a zip bomb: {packed:,} bytes that unpack to {size:,}; it is refused"
        )
