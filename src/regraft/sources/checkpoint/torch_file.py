"""Torch files, zipped and older: their pickle is read without running it, each tensor from its place."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from regraft.core.errors import SourceError
from regraft.sources.checkpoint import archive
from regraft.sources.checkpoint.checkpoint import Entry
from regraft.sources.checkpoint.limits import MAX_HEADER, MAX_TENSORS, checked_shape, damage_named
from regraft.sources.checkpoint.memory import check_sizes, read_at, read_strided
from regraft.sources.checkpoint.pickle_reader import Bounded, read_pickle
from regraft.sources.checkpoint.torch_pickle import OddTensor, Storage, TensorRecipe, call, is_tensor, storage
from regraft.sources.checkpoint.wrappers import unwrap

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_PICKLE = "data.pkl"
_NUMBER = struct.Struct("<q")

Place = Callable[[], int]
"""Tells where a storage begins in the file; asked when a tensor is read."""
Places = Callable[[Storage], tuple[Place, int]]
"""Tells of a storage where it begins and how many bytes the file has for it."""


def read_entries(
    path: Path, prefer: str | None = None, *, strips: bool = True
) -> tuple[dict[str, Entry], list[str]]:
    """The tensors of a torch file, and what was decided about the containers that they lay in.

    ``strips`` says whether names lose the prefix that all of them have: not in one shard of several.
    """
    with damage_named(path, "a torch checkpoint"):
        with open(path, "rb") as stream:
            zipped = stream.read(4) == b"PK\x03\x04"
        content, places = _zipped(path) if zipped else _older(path)
        return _entries(path, content, places, prefer, strips)


def _entries(
    path: Path, content: Any, places: Places, prefer: str | None, strips: bool
) -> tuple[dict[str, Entry], list[str]]:
    if not isinstance(content, Mapping):
        kind = "tensor" if is_tensor(content) else type(content).__name__
        raise SourceError(f"{path} holds a {kind}, not named tensors (a state dict)")
    tensors, notes = unwrap(content, is_tensor, prefer=prefer, origin=str(path), strips=strips)
    if not tensors:
        found = ", ".join(str(name)[:40] for name in list(content)[:8]) or "nothing"
        raise SourceError(f"{path} holds no tensors; it holds {found}")
    entries = {name: _entry(path, name, recipe, places) for name, recipe in tensors.items()}
    check_sizes(path, entries)
    return entries, notes


def _entry(path: Path, name: str, recipe: TensorRecipe | OddTensor, places: Places) -> Entry:
    where = f"tensor {name[:80]!r} of {path}"
    if isinstance(recipe, OddTensor):
        raise SourceError(
            f"{where} is a {recipe.kind} tensor, which has no plain values to read. "
            "Make it a dense tensor of floats where it was saved, then save again"
        )
    shape = checked_shape(where, recipe.shape)
    width = recipe.dtype.itemsize
    place, held = places(recipe.storage)
    skipped = recipe.storage.start * recipe.storage.dtype.itemsize + recipe.offset * width
    if 0 in shape:
        return Entry(shape, recipe.dtype, partial(read_at, path, 0, shape, recipe.dtype))
    span = 1 + sum((length - 1) * stride for length, stride in zip(shape, recipe.strides, strict=True))
    if skipped + span * width > held:
        raise SourceError(f"{where} reaches beyond its storage: {held:,} bytes are there for it")
    if recipe.strides == _contiguous(shape) or span == 1:
        return Entry(shape, recipe.dtype, partial(_read, path, place, skipped, recipe, None))
    return Entry(shape, recipe.dtype, partial(_read, path, place, skipped, recipe, recipe.strides))


def _read(
    path: Path, place: Place, skipped: int, recipe: TensorRecipe, strides: tuple[int, ...] | None
) -> Any:
    with damage_named(path, "a torch checkpoint"):
        offset = place() + skipped
    if strides is None:
        return read_at(path, offset, recipe.shape, recipe.dtype)
    return read_strided(path, offset, recipe.shape, strides, recipe.dtype)


def _contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides: list[int] = []
    step = 1
    for length in reversed(shape):
        strides.append(step)
        step *= length
    return tuple(reversed(strides))


def _zipped(path: Path) -> tuple[Any, Places]:
    """The content of a zipped file, and the places of its storages."""
    members = archive.members(path)
    roots = [name.removesuffix(_PICKLE) for name in members if name.split("/")[-1] == _PICKLE]
    if len(roots) != 1:
        raise ValueError(f"it is a zip archive with {len(roots)} members called {_PICKLE}")
    root = roots[0]
    if f"{root}constants.pkl" in members:
        raise SourceError(
            f"{path} is a TorchScript archive, a program. Save its weights instead: "
            "torch.save(torch.jit.load(path).state_dict(), 'weights.pt')"
        )
    packed = next((name for name, member in members.items() if member.deflated), None)
    if packed is not None:
        raise SourceError(
            f"{path} is a compressed torch file ({packed[:80]!r} is); unzip it and zip it with -0"
        )
    if b"big" in _member_bytes(path, members.get(f"{root}byteorder")):
        raise SourceError(f"{path} was saved on a big-endian machine; load and save it on another one")
    data = _member_bytes(path, members[f"{root}{_PICKLE}"])
    content = read_pickle(io.BytesIO(data), path, call, partial(storage, viewed=False))

    def places(held: Storage) -> tuple[Place, int]:
        member = members[f"{root}data/{held.key}"]
        return partial(archive.place, path, member), min(member.size, held.count * held.dtype.itemsize)

    return content, places


def _member_bytes(path: Path, member: archive.Member | None) -> bytes:
    if member is None:
        return b""
    if member.size > 10 * MAX_HEADER:
        raise ValueError(f"its {_PICKLE} has {member.size:,} bytes")
    with open(path, "rb") as stream:
        stream.seek(archive.place(path, member))
        return stream.read(member.size)


def _older(path: Path) -> tuple[Any, Places]:
    """The content of a file as torch saved it before 1.6, and the places of its storages."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        stream = Bounded(file, size)
        _check_opening(path, stream)
        kinds: dict[str, Storage] = {}

        def persistent(saved: Any) -> Storage:
            found = storage(saved, viewed=True)
            kinds.setdefault(found.key, Storage(found.key, found.dtype, saved[4]))
            return found

        content = read_pickle(stream, path, call, persistent)
        keys = read_pickle(stream, path, _no_call, _no_storage)
        starts = _storage_starts(file, file.tell(), size, keys, kinds)

    def places(held: Storage) -> tuple[Place, int]:
        start = starts[held.key]
        return lambda: start, kinds[held.key].count * kinds[held.key].dtype.itemsize

    return content, places


def _check_opening(path: Path, stream: Bounded) -> None:
    """The three pickles that a torch file opens with."""
    magic = read_pickle(stream, path, _no_call, _no_storage)
    if magic != _MAGIC:
        raise ValueError("it is a pickle, but not one that torch.save wrote")
    version = read_pickle(stream, path, _no_call, _no_storage)
    if version != _VERSION:
        raise ValueError(f"its protocol version is {str(version)[:20]}, not {_VERSION}")
    system = read_pickle(stream, path, _no_call, _no_storage)
    if isinstance(system, dict) and system.get("little_endian") is False:
        raise SourceError(f"{path} was saved on a big-endian machine; load and save it on another one")


def _storage_starts(
    file: io.BufferedReader, offset: int, size: int, keys: Any, kinds: Mapping[str, Storage]
) -> dict[str, int]:
    """Where each storage begins: they follow the pickles in the order of the keys, each after its length."""
    if not isinstance(keys, list) or len(keys) > MAX_TENSORS:
        raise TypeError("it has no list of storages")
    starts: dict[str, int] = {}
    for key in map(str, keys):
        file.seek(offset)
        (count,) = _NUMBER.unpack(file.read(_NUMBER.size))
        held = kinds[key]
        if count != held.count or key in starts:
            raise ValueError(f"storage {key[:40]!r} has {count:,} elements, not {held.count:,}")
        starts[key] = offset + _NUMBER.size
        offset = starts[key] + count * held.dtype.itemsize
        if offset > size:
            raise EOFError(f"it ends too early: storage {key[:40]!r} would need {offset - size:,} more bytes")
    return starts


def _no_call(name: str, _: tuple[Any, ...]) -> Any:
    return None


def _no_storage(_: Any) -> Any:
    raise ValueError("it refers to a storage where none can be")
