"""Checkpoints of several processes: the leader writes and reads them, the others get what it read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from regraft.engine.checkpoint import Checkpoint, Checkpoints, Tensors
from regraft.engine.processes.group import Processes
from regraft.engine.processes.sharding import gathered

_TYPES = {str(kind): kind for kind in (torch.float32, torch.float64, torch.float16, torch.bfloat16)}
_TYPES |= {str(kind): kind for kind in (torch.int64, torch.int32, torch.uint8, torch.bool, torch.int16)}


class SharedCheckpoints(Checkpoints):
    """The checkpoints of one run, kept by the leader; every process calls the same methods at the same time.

    What is sharded is put together first, so that a checkpoint is that of a run in one process.
    """

    def __init__(self, folder: Path, processes: Processes):
        super().__init__(folder)
        self.processes = processes

    def write(self, state: Mapping[str, Any], tensors: Mapping[str, Tensors]) -> None:
        whole = {name: gathered(group) for name, group in tensors.items()}
        if self.processes.leads:
            super().write(state, whole)

    def newest(self) -> Checkpoint | None:
        found = super().newest() if self.processes.leads else None
        outline = self.processes.share(None if found is None else _outline(found))
        if outline is None:
            return None
        checkpoint = found or _empty(outline)
        every = [tensor for group in checkpoint.tensors.values() for tensor in group.values()]
        device = "cuda" if self.processes.backend == "nccl" else "cpu"
        moved = [tensor.to(device) for tensor in every]
        self.processes.spread(moved)
        for tensor, sent in zip(every, moved, strict=True):
            tensor.copy_(sent)
        return checkpoint

    def clear(self) -> None:
        if self.processes.leads:
            super().clear()


def _outline(checkpoint: Checkpoint) -> dict[str, Any]:
    groups = {
        name: {key: [str(tensor.dtype), list(tensor.shape)] for key, tensor in group.items()}
        for name, group in checkpoint.tensors.items()
    }
    return {"state": checkpoint.state, "tensors": groups}


def _empty(outline: dict[str, Any]) -> Checkpoint:
    tensors = {
        name: {key: torch.empty(shape, dtype=_TYPES[kind]) for key, (kind, shape) in group.items()}
        for name, group in outline["tensors"].items()
    }
    return Checkpoint(outline["state"], tensors)
