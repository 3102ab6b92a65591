"""Running a frozen prefix once for each example, and keeping what it gave."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import torch
from torch import Tensor

from regraft.core.console import progress
from regraft.core.hashing import hash_bytes, hash_json, hash_tensors
from regraft.core.inputs import Batch, Inputs
from regraft.inference.backends import Backend, open_backend, versions_of, wanted_backend
from regraft.inference.batching import FixedBatch, fixed_batches, pieces_of
from regraft.inference.cache import Shelf
from regraft.linking import pool_pieces
from regraft.sources import Trunk

BATCH = 32
"""Pieces per batch of a frozen prefix: fixed, because a value's last bits depend on the batch's shape."""
_SHARD = 16  # batches per file of the cache


class Embedder:
    """A frozen prefix, the inputs it reads and the shelf that keeps its activations.

    The prefix must not change as long as it is used. Nothing is compiled before something has to be run.

    Parameters
    ----------
    trunk, cut
        The prefix is the first ``cut`` blocks; all of them give pooled features.
    backend
        ``auto``, ``eager`` or ``openvino``.
    keep
        False keeps activations in memory only.
    """

    def __init__(
        self,
        trunk: Trunk,
        inputs: Inputs,
        *,
        cut: int,
        backend: str = "auto",
        device: torch.device | None = None,
        keep: bool = True,
    ):
        self.trunk, self.inputs, self.cut, self.keep = trunk.eval(), inputs, cut, keep
        self.device = device or torch.device("cpu")
        shapes, pieces = len(np.unique(inputs.buckets)), len(inputs.owners)
        self._weights = hash_tensors(_owned(trunk, cut))
        self._backend: Backend | None = None
        self._use(wanted_backend(backend, pieces=pieces, shapes=shapes, device=self.device))

    def _use(self, backend: str) -> None:
        self.backend_name = backend
        self.shelf = Shelf.open(self._facts()) if self.keep else Shelf(None)

    def activations(self, examples: np.ndarray) -> Tensor:
        """The activation at the cut of every piece of ``examples``, in order; computed if not kept."""
        pieces, _ = pieces_of(self.inputs, examples)
        self.compute(examples)
        return self.shelf.take(self._keys(pieces))

    def features(self, examples: np.ndarray) -> Tensor:
        """Pooled features ``Float[Tensor, "examples width"]``: each example's pieces, averaged by weight."""
        pieces, positions = pieces_of(self.inputs, examples)
        values = self.activations(examples)
        weights = torch.from_numpy(np.asarray(self.inputs.weights)[pieces])
        return pool_pieces(values, torch.from_numpy(positions), weights, len(examples))

    def compute(self, examples: np.ndarray, *, share: tuple[int, int] | None = None) -> None:
        """Run the prefix on whatever is not kept yet, with progress.

        ``share`` (which, of how many) leaves the rest of the work to other processes with the same shelf;
        what they did is found after :meth:`refresh`.
        """
        if len(self._missing(examples, share)) == 0:
            return
        backend = self._open()
        todo = self._missing(examples, share)
        pending: list[tuple[FixedBatch, Tensor]] = []
        with progress(f"Running the frozen layers ({backend.name})", len(todo)) as advance:
            for batch in fixed_batches(self.inputs, todo, BATCH):
                values = backend.run(self.inputs.batch(batch.pieces))[: batch.count]
                if pending and (len(pending) >= _SHARD or pending[0][1].shape[1:] != values.shape[1:]):
                    self._put(pending)
                    pending = []
                pending.append((batch, values))
                advance(batch.count)
        if pending:
            self._put(pending)

    def _open(self) -> Backend:
        """The backend, compiled and checked when first needed; with another shelf if it is another one."""
        if self._backend is None:
            batch = self.inputs.batch(np.zeros(BATCH, np.int64)) if self.backend_name != "eager" else {}
            self._backend = _opened(
                self.backend_name, self.trunk, self.cut, batch, self.device, self._facts()
            )
            if self._backend.name != self.backend_name:
                self._use(self._backend.name)
        return self._backend

    def refresh(self) -> None:
        """Find what other processes have added to the shelf."""
        self._use(self.backend_name)

    def _missing(self, examples: np.ndarray, share: tuple[int, int] | None = None) -> np.ndarray:
        """Pieces that are not kept, each content once."""
        pieces, _ = pieces_of(self.inputs, examples)
        pieces = pieces if share is None else pieces[share[0] :: share[1]]
        keys = self._keys(pieces)
        missing = {
            key: piece for key, piece in zip(keys, pieces.tolist(), strict=True) if key not in self.shelf
        }
        return np.fromiter(missing.values(), dtype=np.int64)

    def _put(self, pending: list[tuple[FixedBatch, Tensor]]) -> None:
        pieces = np.concatenate([batch.pieces[: batch.count] for batch, _ in pending])
        self.shelf.add(self._keys(pieces), torch.cat([values for _, values in pending]))

    def _keys(self, pieces: np.ndarray) -> list[str]:
        owners = np.asarray(self.inputs.owners)
        first = np.searchsorted(owners, owners[pieces], side="left")
        return [
            f"{self.inputs.keys[owner]}:{ordinal}"
            for owner, ordinal in zip(owners[pieces].tolist(), (pieces - first).tolist(), strict=True)
        ]

    def _facts(self) -> dict[str, object]:
        """Everything that an activation depends on beside its example."""
        return {
            "weights": self._weights,
            "network": hash_bytes(repr(self.trunk.network).encode()),
            "blocks": list(self.trunk.block_names[: self.cut]),
            "batch": BATCH,
            "backend": versions_of(self.backend_name),
            "threads": torch.get_num_threads(),
            "device": self.device.type,
            "dtype": "float32",
        }


_compiled: OrderedDict[str, Backend] = OrderedDict()
_COMPILED_KEPT = 2


def _opened(
    name: str, trunk: Trunk, cut: int, batch: Batch, device: torch.device, facts: dict[str, object]
) -> Backend:
    """Open a backend; compiled ones are kept for the process, because compiling takes seconds."""
    key = hash_json({**facts, "shapes": [list(tensor.shape) for tensor in batch.values()]})
    if key in _compiled:
        _compiled.move_to_end(key)
        return _compiled[key]
    backend = open_backend(name, trunk, cut, batch, device)
    if backend.name != "eager":
        _compiled[key] = backend
        while len(_compiled) > _COMPILED_KEPT:
            _compiled.popitem(last=False)
    return backend


def _owned(trunk: Trunk, cut: int) -> dict[str, Tensor]:
    """Parameters and buffers of the first ``cut`` blocks."""
    names = set(trunk.block_names[:cut])
    state = trunk.network.state_dict()
    return {name: value for name, value in state.items() if trunk.block_of(name) in names}
