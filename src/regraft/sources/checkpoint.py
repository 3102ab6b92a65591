"""Reading checkpoints: safetensors mapped from disk, torch files with ``weights_only=True`` alone."""

from __future__ import annotations

import json
import pickle
import pickletools
import re
import struct
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from regraft.core.errors import SourceError, UnsafeFileError
from regraft.core.hashing import hash_bytes, hash_file
from regraft.sources.source import Weights

_CONTAINERS = ("state_dict", "model", "model_state_dict", "module")
_WRAPPERS = ("module.", "_orig_mod.")
# What torch's unpickler raises at bytes that are no checkpoint.
_DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)
_RUN = ("trunk.network.", "heads.")  # what a finished run calls its tensors


def describe(files: Sequence[Path], licence: str) -> Weights:
    """What the files are: the sha256 of the one file, or of the list of all files' hashes, and their size."""
    hashes = [hash_file(file) for file in files]
    sha256 = hashes[0] if len(hashes) == 1 else hash_bytes("\n".join(hashes).encode())
    size = sum(file.stat().st_size for file in files)
    return Weights(files=tuple(files), sha256=sha256, size=size, licence=licence)


def weight_files(path: Path) -> tuple[Path, ...]:
    """The files that hold a checkpoint's weights: the path itself, or the shards that its index names."""
    if not path.name.endswith(".index.json"):
        return (path,)
    try:
        shards = sorted(set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise SourceError(f"{path} is not the index of a sharded checkpoint: {error}") from error
    files = [path.parent / shard for shard in shards]
    outside = [file for file in files if file.resolve().parent != path.resolve().parent]
    if outside:
        raise UnsafeFileError(f"{path} names a shard outside its own folder: {outside[0].name}")
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise SourceError(f"{path} names shards that are not there: {', '.join(missing)}")
    return tuple(files)


def read_files(files: Sequence[Path]) -> dict[str, Tensor]:
    """All tensors of the files, wrappers stripped from their names."""
    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors.update(_read_file(Path(file)))
    return strip_wrappers(tensors)


def strip_wrappers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without what data parallelism, compilation and finished runs put before every name."""
    names = dict(tensors)
    while names and (prefix := _shared_wrapper(list(names))):
        names = {name.removeprefix(prefix): tensor for name, tensor in names.items()}
    if all(name.startswith(_RUN) for name in names):
        names = {name.removeprefix(_RUN[0]): tensor for name, tensor in names.items()}
    return names


def _shared_wrapper(names: list[str]) -> str:
    for prefix in _WRAPPERS:
        if all(name.startswith(prefix) for name in names):
            return prefix
    return ""


def _read_file(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise SourceError(f"there is no weight file {file}")
    if file.suffix == ".safetensors":
        return _read_safetensors(file)
    return _read_torch(file)


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except (SafetensorError, OSError, ValueError) as error:
        raise SourceError(f"{file} is damaged or not a safetensors file: {error}") from error


def _read_torch(file: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            # Torch asks for an issue at pickles that are not its own; here they are refused with a reason.
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            # Only the zip format can be mapped; older files are read whole.
            content = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except pickle.UnpicklingError as error:
        raise _refusal(file, str(error)) from error
    except _DAMAGE as error:
        raise SourceError(f"{file} is damaged or not a torch checkpoint: {_first_line(error)}") from error
    return _state_dict(file, content)


def _refusal(file: Path, message: str) -> SourceError:
    match = re.search(r"GLOBAL ([\w.]+)", message)
    wanted = match.group(1) if match else _first_global(file)
    if wanted:
        return UnsafeFileError(
            f"{file} is a pickle that asks to run {wanted}; it is refused. "
            "Save its tensors instead: safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')"
        )
    return SourceError(f"{file} is damaged or not a torch checkpoint: {_first_line(message)}")


def _first_global(file: Path) -> str:
    """The first thing that a plain pickle asks to import; nothing is run to find out."""
    strings: list[str] = []
    try:
        with open(file, "rb") as stream:
            for opcode, argument, _ in pickletools.genops(stream):
                if opcode.name == "GLOBAL":
                    return str(argument).replace(" ", ".")
                if opcode.name == "STACK_GLOBAL":
                    return ".".join(strings[-2:])
                if isinstance(argument, str):
                    strings.append(argument)
    except _DAMAGE:
        return ""
    return ""


def _first_line(message: object) -> str:
    lines = str(message).strip().splitlines()
    return lines[0][:200] if lines else "it ends too early"


def _state_dict(file: Path, content: Any) -> dict[str, Tensor]:
    """The state dict inside a training checkpoint."""
    while isinstance(content, Mapping):
        inner = next((key for key in _CONTAINERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = content[inner]
    if not isinstance(content, Mapping):
        raise SourceError(f"{file} holds a {type(content).__name__}, not named tensors (a state dict)")
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        found = ", ".join(str(name) for name in list(content)[:8]) or "nothing"
        raise SourceError(f"{file} holds no tensors; it holds {found}")
    return tensors
