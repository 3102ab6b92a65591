"""Weight files of sources: what they are, which belong together, and all of their tensors at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from regraft.core.hashing import hash_bytes, hash_file
from regraft.sources.checkpoint.opening import open_checkpoint
from regraft.sources.checkpoint.sharded import read_index
from regraft.sources.checkpoint.wrappers import strip
from regraft.sources.source import Weights


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
    return tuple(dict.fromkeys(sorted(read_index(path).values())))


def read_files(files: Sequence[Path]) -> dict[str, Tensor]:
    """All tensors of the files, wrappers stripped from their names."""
    checkpoint = open_checkpoint([Path(file) for file in files])
    return {name: checkpoint.read(name) for name in checkpoint}


def strip_wrappers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without what data parallelism, compilation and finished runs put before every name."""
    return strip(tensors, [])
