"""Which format a file has, and what it is if it is no checkpoint at all."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Literal

from regraft.core.errors import SourceError
from regraft.sources.checkpoint.limits import damage_named, is_file, is_folder

Kind = Literal["safetensors", "torch", "numpy", "onnx", "keras"]

_SUFFIXES: dict[str, Kind] = {
    ".safetensors": "safetensors",
    ".npz": "numpy",
    ".onnx": "onnx",
    ".h5": "keras",
    ".hdf5": "keras",
}
_CALLED = {
    "safetensors": "a safetensors file",
    "torch": "a torch checkpoint",
    "numpy": "a NumPy archive",
    "onnx": "an ONNX model",
    "keras": "an HDF5 file",
}
_HDF5 = b"\x89HDF\r\n\x1a\n"
_ZIP = b"PK\x03\x04"
_POINTER = b"version https://git-lfs.github.com/spec/"
_LOOK = 512


def kind_of(path: Path) -> Kind:
    """The format of a weight file, by its first bytes where they tell, else by its suffix.

    Raises ``SourceError`` for what is no file, empty, a Git LFS pointer, a web page or other text.
    """
    if not is_file(path):
        if is_folder(path):
            raise SourceError(f"{path} is a folder; name the weight file in it")
        raise SourceError(f"there is no weight file {path}")
    with damage_named(path, "readable"), open(path, "rb") as stream:
        start = stream.read(_LOOK)
    by_name = _SUFFIXES.get(path.suffix.lower(), "torch")
    _refuse_text(path, start, by_name)
    if start.startswith(_HDF5):
        return "keras"
    if start.startswith(_ZIP):
        return _kind_of_archive(path)
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size:
        return "safetensors"
    if start[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05") and by_name != "safetensors":
        return "torch"
    return by_name


def _kind_of_archive(path: Path) -> Kind:
    with damage_named(path, "a torch checkpoint or a NumPy archive"), zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if "model.weights.h5" in names:
        raise SourceError(f"{path} is a Keras archive; unzip it and name the model.weights.h5 in it")
    arrays = bool(names) and all(name.endswith(".npy") for name in names)
    return "numpy" if arrays or path.suffix.lower() == ".npz" else "torch"


def _refuse_text(path: Path, start: bytes, by_name: Kind) -> None:
    what = _CALLED[by_name]
    if not start:
        raise SourceError(f"{path} is damaged or not {what}: it is empty (0 bytes)")
    if start.startswith(_POINTER):
        raise SourceError(
            f"{path} is a Git LFS pointer: the weights were not downloaded. "
            "Run `git lfs pull` in the repository, or download the file itself"
        )
    if start.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html", b"<?xml", b"<head")):
        raise SourceError(f"{path} is a web page, not {what}: what was saved is the page around the download")
    if _is_text(start):
        shown = start[:40].decode("utf-8", "replace").splitlines()[0]
        raise SourceError(f"{path} is damaged or not {what}: it is text that starts with {shown!r}")


def _is_text(start: bytes) -> bool:
    """Whether there are only printable characters and line ends, and enough of them to tell."""
    return len(start) >= 16 and all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in start)
