"""Until sources hands these on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from regraft.sources import Source, read_weights


class Checkpoint:
    def __init__(self, tensors: Mapping[str, Tensor]):
        self.tensors = dict(tensors)
        self.notes: tuple[str, ...] = ()
        self.layout = "torch"

    def names(self) -> tuple[str, ...]:
        return tuple(self.tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.tensors[name].shape)

    def dtype(self, name: str) -> torch.dtype:
        return self.tensors[name].dtype

    def read(self, name: str) -> Tensor:
        return self.tensors[name].detach().clone()

    def __contains__(self, name: str) -> bool:
        return name in self.tensors


def open_tensors(tensors: Mapping[str, Tensor]) -> Checkpoint:
    return Checkpoint(tensors)


def open_weights(source: Source) -> Checkpoint:
    return Checkpoint(read_weights(source))


def open_checkpoint(path: Path) -> Checkpoint:
    from regraft.sources.checkpoint import read_files

    return Checkpoint(read_files([path]))
