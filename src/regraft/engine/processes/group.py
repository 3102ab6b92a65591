"""Processes: those that carry out a plan together, and the few things that they say to each other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from regraft.core.errors import TrainingError
from regraft.engine.processes.failure import Board, Report
from regraft.engine.slices import Slice

_BUCKET = 1 << 24  # numbers that are sent at once (64 MB in float32)


@dataclass(frozen=True)
class Processes:
    """The processes of a run, seen from one of them. A single one has nobody to talk to: all is as it is.

    Every operation is called by all processes in the same order. One that cannot go on because another
    failed raises that one's error; see :mod:`regraft.engine.processes.failure`.

    Attributes
    ----------
    rank, world
        Which of how many; rank 0 leads: it alone writes and speaks.
    backend
        ``gloo`` (CPU) or ``nccl`` (CUDA); empty for a single process.
    here
        How many of them run on this machine.
    board, talk
        Where failures are reported, and the group in which JSON and NumPy arrays travel.
    """

    rank: int = 0
    world: int = 1
    backend: str = ""
    board: Board | None = None
    talk: Any = None
    here: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    @property
    def many(self) -> bool:
        """Whether there is more than one."""
        return self.world > 1

    @property
    def slice(self) -> Slice:
        """Of every batch the share that this process takes."""
        return Slice(self.rank, self.world)

    def to_json(self) -> dict[str, Any]:
        """For ``run.json``."""
        return {"world": self.world, "backend": self.backend}

    def command(self, rest: str) -> str:
        """The line that starts regraft with as many processes: ``rest`` is what comes after ``regraft``."""
        return f"torchrun --nproc-per-node {self.world} -m regraft {rest}" if self.many else f"regraft {rest}"

    def agree(self, values: Sequence[float]) -> list[float]:
        """The sums of the processes' values."""
        if not self.many:
            return [float(value) for value in values]
        numbers = torch.tensor(values, dtype=torch.float64)
        with self._together("in a step"):
            dist.all_reduce(numbers, group=self.talk)
        return [float(value) for value in numbers]

    def settle(self, values: Sequence[float], failure: Exception | None) -> list[float]:
        """The sums of the processes' values; where one of them failed, all raise what the first one says."""
        *sums, failed = self.agree([*values, float(failure is not None)])
        if not failed:
            return sums
        own = Report.of(self.rank, failure) if failure is not None else None
        reports = [Report(**one) for one in self.collect(vars(own) if own else None) if one is not None]
        if failure is not None and reports[0].rank == self.rank:
            raise failure
        raise reports[0].error() from failure

    def share(self, value: Any) -> Any:
        """The leader's value, as JSON carries it."""
        if not self.many:
            return value
        data = self._broadcast(json.dumps(value).encode() if self.leads else b"")
        return json.loads(data)

    def collect(self, value: Any) -> list[Any]:
        """Every process's value, by rank, as JSON carries it."""
        if not self.many:
            return [value]
        own = np.frombuffer(json.dumps(value).encode(), np.uint8)
        return [json.loads(part.tobytes()) for part in self._parts(own)]

    def join(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Rows of all processes, one after the other in their order."""
        if not self.many:
            return dict(arrays)
        return {name: np.concatenate(self._parts(rows)) for name, rows in arrays.items()}

    def wait(self, during: str) -> None:
        """Wait for all; ``during`` says what for, as in "while decoding"."""
        if self.many:
            with self._together(during):
                dist.barrier(group=self.talk)

    @contextmanager
    def leader_first(self, during: str) -> Iterator[None]:
        """The leader goes through the block before the others: they find what it left in the cache."""
        if not self.leads:
            self.wait(during)
        yield
        if self.leads:
            self.wait(during)

    def same(self, **facts: Any) -> None:
        """Raise :class:`TrainingError` where a process has other facts than the leader."""
        for rank, other in enumerate(self.collect(facts)):
            for name, value in facts.items():
                if other[name] != value:
                    raise TrainingError(
                        f"rank {rank} has another {name.replace('_', ' ')} than rank {self.rank}: "
                        f"{other[name]} there, {value} here. All processes have to see the same files."
                    )

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by the sums over all processes, in place."""
        for bucket in _buckets(tensors) if self.many else ():
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
            with self._together("while gradients are added up"):
                dist.all_reduce(flat)
            _spill(flat, bucket)

    def spread(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by the leader's, in place."""
        for bucket in _buckets(tensors) if self.many else ():
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
            with self._together("while weights are handed out"):
                dist.broadcast(flat, 0)
            _spill(flat, bucket)

    def _broadcast(self, data: bytes) -> bytes:
        size = torch.tensor([len(data)], dtype=torch.int64)
        with self._together("while facts are shared"):
            dist.broadcast(size, 0, group=self.talk)
            sent = np.frombuffer(data, np.uint8).copy() if self.leads else np.empty(int(size), np.uint8)
            buffer = torch.from_numpy(sent)
            dist.broadcast(buffer, 0, group=self.talk)
        return buffer.numpy().tobytes()

    def _parts(self, rows: np.ndarray) -> list[np.ndarray]:
        """Everybody's rows; the first dimension may differ."""
        own = torch.from_numpy(np.array(rows, order="C"))
        with self._together("while shares are put together"):
            counts = [torch.zeros(1, dtype=torch.int64) for _ in range(self.world)]
            dist.all_gather(counts, torch.tensor([len(own)]), group=self.talk)
            longest = max(int(count) for count in counts)
            padded = torch.zeros((longest, *own.shape[1:]), dtype=own.dtype)
            padded[: len(own)] = own
            parts = [torch.empty_like(padded) for _ in range(self.world)]
            dist.all_gather(parts, padded, group=self.talk)
        return [part[: int(count)].numpy() for part, count in zip(parts, counts, strict=True)]

    @contextmanager
    def _together(self, during: str) -> Iterator[None]:
        """A collective operation: where it breaks, the cause is looked up."""
        try:
            yield
        except RuntimeError as error:
            assert self.board is not None
            raise self.board.cause(during, error) from error


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Tensors of one type and device at a time, not too many at once."""
    kinds: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for tensor in tensors:
        kinds.setdefault((tensor.dtype, tensor.device), []).append(tensor)
    for members in kinds.values():
        bucket: list[Tensor] = []
        for tensor in members:
            if bucket and sum(one.numel() for one in bucket) + tensor.numel() > _BUCKET:
                yield bucket
                bucket = []
            bucket.append(tensor)
        if bucket:
            yield bucket


def _spill(flat: Tensor, bucket: Sequence[Tensor]) -> None:
    start = 0
    with torch.no_grad():
        for tensor in bucket:
            tensor.copy_(flat[start : start + tensor.numel()].reshape(tensor.shape))
            start += tensor.numel()


ALONE = Processes()
