"""Tensors in memory: fresh ones, filled straight from a file, and a checkpoint of those that are there."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from regraft.core.errors import SourceError
from regraft.sources.checkpoint.checkpoint import Checkpoint, Entry
from regraft.sources.checkpoint.limits import check_total, damage_named


def fresh(path: Path, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Memory for a tensor of this file, not filled yet."""
    try:
        return torch.empty(tuple(shape), dtype=dtype)
    except (RuntimeError, MemoryError) as error:
        size = torch.Size(shape).numel() * dtype.itemsize
        raise SourceError(f"a tensor of {path} with {size:,} bytes does not fit into memory") from error


def buffer(tensor: Tensor) -> memoryview:
    """The bytes of a contiguous tensor, to be written to."""
    return tensor.reshape(-1).view(torch.uint8).numpy().data


def fill(stream: io.RawIOBase, offset: int, target: memoryview, path: Path) -> None:
    """Read from ``offset`` until the target is full."""
    stream.seek(offset)
    while len(target):
        count = stream.readinto(target)
        if not count:
            raise SourceError(f"{path} ends too early: {len(target):,} bytes of a tensor are missing")
        target = target[count:]


def read_at(path: Path, offset: int, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """The tensor whose bytes lie in a file from ``offset`` on."""
    tensor = fresh(path, shape, dtype)
    with damage_named(path, "readable"), open(path, "rb", buffering=0) as stream:
        fill(stream, offset, buffer(tensor), path)
    return tensor


def read_strided(
    path: Path, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], dtype: torch.dtype
) -> Tensor:
    """The tensor whose elements lie in a file with these strides; the stretch is gone once it is in order."""
    span = 1 + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))
    flat = read_at(path, offset, (span,), dtype)
    return flat.as_strided(shape, strides).clone(memory_format=torch.contiguous_format)


def swap(tensor: Tensor) -> Tensor:
    """The tensor with the bytes of each number turned around, in place."""
    width = tensor.dtype.itemsize // (2 if tensor.dtype.is_complex else 1)
    numbers = tensor.reshape(-1).view(torch.uint8).reshape(-1, width)
    numbers.copy_(numbers.flip(1))
    return tensor


def entry_at(path: Path, offset: int, shape: tuple[int, ...], dtype: torch.dtype) -> Entry:
    """The entry of a tensor whose bytes lie in a file from ``offset`` on."""
    return Entry(shape, dtype, partial(read_at, path, offset, shape, dtype))


def check_sizes(path: Path, entries: Mapping[str, Entry], held: int | None = None) -> None:
    """Refuse tensors that the bytes of their file cannot back."""
    size = path.stat().st_size if held is None else held
    check_total(path, sum(entry.size for entry in entries.values()), size)


def open_tensors(tensors: Mapping[str, Tensor]) -> Checkpoint:
    """A state dict in memory as a checkpoint; reading clones.

    Raises ``SourceError`` for a tensor without plain values: sparse, quantised, or on the meta device.
    """
    for name, tensor in tensors.items():
        if odd := _oddness(tensor):
            raise SourceError(f"{name} is a {odd} tensor; hand over a dense one with values")
    entries = {
        name: Entry(tuple(tensor.shape), tensor.dtype, partial(_clone, tensor))
        for name, tensor in tensors.items()
    }
    return Checkpoint(entries, layout="torch", origin="the state dict")


def _oddness(tensor: Tensor) -> str:
    if tensor.is_meta:
        return "meta"
    if tensor.is_quantized:
        return "quantised"
    return "" if tensor.layout is torch.strided else "sparse"


def _clone(tensor: Tensor) -> Tensor:
    copy = tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
    return copy.resolve_conj().resolve_neg()
