"""Hashing many files, and naming those that cannot be read."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from regraft.core.console import track

LITTER = frozenset({"thumbs.db", "desktop.ini", "icon\r", "__macosx"})
IMAGE_SUFFIXES = frozenset(
    {
        ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".webp",
        ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".ico", ".avif", ".jp2",
    }
)  # fmt: skip
_CHUNK = 1 << 20


def is_litter(name: str) -> bool:
    """Whether a file or folder was put there by a system and not by a person."""
    return name.startswith(".") or name.lower() in LITTER


def hash_files(paths: Sequence[str], names: Sequence[str]) -> tuple[list[bytes | None], dict[int, str]]:
    """Digest of each file, None where it cannot be read, and the reasons by index."""
    digests: list[bytes | None] = []
    reasons: dict[int, str] = {}
    with ThreadPoolExecutor(4) as pool:
        results = pool.map(_hash_or_reason, paths, chunksize=16)
        for index, result in enumerate(track(results, "Reading files", len(paths), unit="files")):
            digests.append(result if isinstance(result, bytes) else None)
            if isinstance(result, str):
                reasons[index] = result
    return digests, reasons


def _hash_or_reason(path: str) -> bytes | str:
    digest, size = hashlib.sha256(), 0
    try:
        with open(path, "rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
    except (OSError, ValueError) as error:
        return reason_of(error)
    return digest.digest() if size else "empty file (0 bytes)"


def reason_of(error: Exception) -> str:
    """Why a file could not be opened, in words."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, PermissionError):
        return "no permission to read this file"
    if isinstance(error, IsADirectoryError):
        return "this is a folder, not a file"
    if isinstance(error, OSError):
        return f"the file cannot be read: {error.strerror or error}"
    return f"not a usable path: {error}"
