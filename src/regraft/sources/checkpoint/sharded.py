"""Checkpoints in several files: the index that names them, and files that lie beside another one."""

from __future__ import annotations

import json
from pathlib import Path

from regraft.core.errors import SourceError, UnsafeFileError
from regraft.sources.checkpoint.limits import MAX_HEADER, MAX_TENSORS, damage_named, first_line, is_file
from regraft.sources.checkpoint.safetensors_file import unique


def read_index(path: Path) -> dict[str, Path]:
    """The file of each tensor, as the index of a sharded checkpoint says.

    Raises ``UnsafeFileError`` for a shard outside the folder, ``SourceError`` for one that is missing or is
    an index itself.
    """
    with damage_named(path, "the index of a sharded checkpoint"):
        names = _weight_map(path)
    files = {shard: beside(path, shard, "a shard") for shard in dict.fromkeys(names.values())}
    nested = [shard for shard in files if shard.lower().endswith(".json")]
    if nested:
        raise SourceError(f"{path} names an index as its shard, {nested[0][:80]}: shards hold tensors")
    missing = [shard[:80] for shard, file in files.items() if not is_file(file)]
    if missing:
        shown = ", ".join(missing[:8]) + (f" and {len(missing) - 8} more" if len(missing) > 8 else "")
        raise SourceError(f"{path} names shards that are not there: {shown}")
    return {name: files[shard] for name, shard in names.items()}


def beside(path: Path, name: str, what: str) -> Path:
    """The file of this name in the folder of ``path``; links may lead only where that of ``path`` does."""
    file = path.parent / name
    try:
        inside = "\0" not in name and file.resolve().parent == path.resolve().parent
    except (OSError, RuntimeError, ValueError) as error:
        raise UnsafeFileError(f"{path} names {what} that leads nowhere, {name[:80]!r}: {error}") from error
    if not inside or Path(name).name != name:
        raise UnsafeFileError(f"{path} names {what} outside its own folder: {name[:80]}")
    return file


def _weight_map(path: Path) -> dict[str, str]:
    if path.stat().st_size > MAX_HEADER:
        raise ValueError(f"it has {path.stat().st_size:,} bytes; at most {MAX_HEADER:,} are read")
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=unique)
    except ValueError as error:
        raise ValueError(f"it is no valid JSON: {first_line(error)}") from error
    names = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(names, dict) or not names:
        raise ValueError("it has no weight_map")
    if not all(isinstance(shard, str) and shard for shard in names.values()):
        raise ValueError("its weight_map names something that is no file")
    if len(names) > MAX_TENSORS:
        raise ValueError(f"it names {len(names):,} tensors; at most {MAX_TENSORS:,} are read")
    return names
