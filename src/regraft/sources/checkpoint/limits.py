"""What a file may claim: bounds that are checked before anything is allocated."""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from regraft.core.errors import RegraftError, SourceError

MAX_TENSORS = 1_000_000
MAX_NAME = 2_000  # characters
MAX_HEADER = 100_000_000  # bytes, as in the safetensors format
MAX_DIMENSIONS = 64  # as in torch
_MAX_ELEMENTS = 1 << 60
_TIMES = 8  # tensors may share storage, but not take up more than this many times the bytes of their file
_SMALL = 1 << 26

# What parsers raise at bytes that are not what they expect.
DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


@contextmanager
def damage_named(path: Path, kind: str) -> Iterator[None]:
    """Turn what parsers raise inside the block into a ``SourceError`` that names the file."""
    try:
        yield
    except RegraftError:
        raise
    except PermissionError as error:
        raise SourceError(f"there is no permission to read {path}") from error
    except DAMAGE as error:
        raise SourceError(f"{path} is damaged or not {kind}: {first_line(error)}") from error


def is_file(path: Path) -> bool:
    """Whether a regular file is there; a name that no file can have is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # longer than the system allows
        return False


def is_folder(path: Path) -> bool:
    """Whether a folder is there; a name that no folder can have is none."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def first_line(message: object) -> str:
    """The first line of a foreign message, shortened."""
    lines = str(message).strip().splitlines()
    if lines:
        return lines[0][:200]
    return type(message).__name__ if isinstance(message, BaseException) else "it ends too early"


def checked_shape(where: str, shape: Any) -> tuple[int, ...]:
    """A stored shape as a tuple. Raises ``SourceError`` for what no tensor can have."""
    if not isinstance(shape, Sequence) or not all(type(length) is int for length in shape):
        raise SourceError(f"{where} has no shape of whole numbers: {str(shape)[:80]}")
    if len(shape) > MAX_DIMENSIONS:
        raise SourceError(f"{where} has {len(shape)} dimensions; at most {MAX_DIMENSIONS} are read")
    if any(length < 0 for length in shape):
        raise SourceError(f"{where} has a negative length in its shape: {_shown(shape)}")
    if (
        any(length > _MAX_ELEMENTS for length in shape)
        or math.prod(map(_at_least_one, shape)) > _MAX_ELEMENTS
    ):
        raise SourceError(f"{where} has a shape that no memory can hold: {_shown(shape)}")
    return tuple(shape)


def check_total(path: Path, claimed: int, held: int) -> None:
    """Refuse tensors that take up many times the bytes of the file that backs them."""
    if claimed > max(_TIMES * held, _SMALL):
        raise SourceError(
            f"{path} has {held:,} bytes and claims tensors of {claimed:,} bytes in all: "
            f"more than {_TIMES} times what it can back, so it is refused"
        )


def _at_least_one(length: int) -> int:
    return max(length, 1)


def _shown(shape: Sequence[int]) -> str:
    return "x".join(f"{length:.3g}" if abs(length) > 10**12 else str(length) for length in shape)[:120]
