"""Content hashes: sha256, as lower-case hexadecimal, over bytes that do not depend on the machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

_CHUNK = 1 << 20


def hash_bytes(data: bytes | memoryview) -> str:
    """Hash of a byte string."""
    return hashlib.sha256(data).hexdigest()


def hash_file(path: str | Path) -> str:
    """Hash of a file's bytes, read in chunks. Raises ``OSError`` as ``open`` does."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def hash_json(value: Any) -> str:
    """Hash of a JSON value, whatever the order of its keys."""
    return hash_bytes(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Hash of named tensors: names, dtypes, shapes and values, whatever the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        # A byte view covers every dtype, bfloat16 included, which numpy does not know.
        digest.update(tensor.flatten().view(_byte_type()).numpy().data)
    return digest.hexdigest()


def _byte_type() -> Any:
    import torch

    return torch.uint8
