"""From a column to a store of examples: each is hashed, and those that are no example are named."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from regraft.core.console import progress
from regraft.targets.arrow_files import as_bytes
from regraft.targets.columns import Column
from regraft.targets.digests import Digests
from regraft.targets.examples import Examples, ImageFiles, ImageRows, Texts
from regraft.targets.files import hash_files
from regraft.targets.names import NumberedNames
from regraft.targets.target import Unreadable

_AT_ONCE = 8192
_CONTROLS = bytes(code for code in range(32) if code not in (9, 10, 11, 12, 13, 27))


@dataclass(frozen=True)
class Stored:
    """A store, the rows of the column that are in it, and what is not in it."""

    examples: Examples
    rows: np.ndarray
    unreadable: tuple[Unreadable, ...]


def text_reason(value: bytes | None) -> str | None:
    """Why bytes are not a text that can be learned from; None where they are one."""
    if value is None:
        return "missing text"
    if not value.strip():
        return "empty text"
    strange = len(value) - len(value.translate(None, _CONTROLS))
    if b"\0" in value or strange > 0.1 * len(value):
        return "binary data, not text"
    try:
        value.decode("utf-8")
    except UnicodeDecodeError as error:
        return (
            f"not valid UTF-8 (byte 0x{value[error.start]:02x} at position {error.start}); save it as UTF-8"
        )
    return None


def store_texts(column: Column, names: Sequence[str]) -> Stored:
    """Texts out of a column of UTF-8 bytes or strings."""

    def judge(value: Any) -> bytes | str:
        data = as_bytes(value)
        return text_reason(data) or hashlib.sha256(data or b"").digest()

    rows, digests, unreadable = _judged(column, names, judge, "Reading texts", "texts")
    return Stored(Texts(column, rows, _picked(names, rows), digests), rows, unreadable)  # type: ignore[arg-type]


def store_image_rows(column: Column, names: Sequence[str]) -> Stored:
    """Images out of a column of bytes, or of paths where there are no bytes."""

    def judge(value: Any) -> bytes | str:
        if value is None:
            return "missing image"
        if isinstance(value, str):
            digests, reasons = hash_files([value], [value])
            return digests[0] or reasons[0]
        return hashlib.sha256(value).digest() if value else "empty file (0 bytes)"

    rows, digests, unreadable = _judged(column, names, judge, "Reading images", "images")
    return Stored(ImageRows(column, rows, _picked(names, rows), digests), rows, unreadable)  # type: ignore[arg-type]


def _judged(
    column: Column, names: Sequence[str], judge: Any, doing: str, unit: str
) -> tuple[np.ndarray, Digests, tuple[Unreadable, ...]]:
    rows = array("q")  # compact: there may be millions
    digests = bytearray()
    unreadable: list[Unreadable] = []
    row = 0
    with progress(doing, len(column), unit=unit) as advance:
        for values in column.slices(_AT_ONCE):
            for value in values:
                verdict = judge(value)
                if isinstance(verdict, bytes):
                    rows.append(row)
                    digests += verdict
                else:
                    unreadable.append(Unreadable(names[row], verdict))
                row += 1
            advance(len(values))
    return np.array(rows, dtype=np.int64), Digests.from_bytes([bytes(digests)]), tuple(unreadable)


def _picked(names: Sequence[str], rows: np.ndarray) -> Sequence[str]:
    if isinstance(names, NumberedNames):
        return NumberedNames(names.word, names.numbers[rows])
    return [names[row] for row in rows]


def store_image_paths(paths: Sequence[Any], numbers: Sequence[str], folder: Path) -> Stored:
    """Images out of a column of paths, relative to the table's folder."""
    words = [None if path is None else _path_word(path) for path in paths]
    named = [word or number for word, number in zip(words, numbers, strict=True)]
    places = [str(folder / word) if word else "" for word in words]
    digests, reasons = hash_files(places, named)
    for index, word in enumerate(words):
        if not word:
            reasons[index] = "no path in this row"
        elif word.startswith(("http://", "https://")):
            reasons[index] = "a web address, not a file; fetch it first"
    rows = np.array([index for index in range(len(words)) if index not in reasons], dtype=np.int64)
    files = ImageFiles(
        [places[row] for row in rows],
        [named[row] for row in rows],
        Digests.from_bytes(digests[row] or b"" for row in rows),
    )
    return Stored(files, rows, tuple(Unreadable(named[row], reasons[row]) for row in sorted(reasons)))


def _path_word(path: Any) -> str:
    return (path.decode("utf-8", "surrogateescape") if isinstance(path, bytes) else str(path)).strip()
