"""Running a frozen prefix once for each example, and keeping what it gave."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from regraft.core.console import progress
from regraft.core.hashing import hash_bytes, hash_tensors
from regraft.core.inputs import Batch, Inputs
from regraft.inference.backends import Backend, choose_backend, versions_of
from regraft.inference.batching import FixedBatch, fixed_batches, pieces_of
from regraft.inference.cache import Shelf
from regraft.linking import pool_pieces
from regraft.sources import Trunk

BATCH = 32
"""Pieces per batch of a frozen prefix: fixed, because a value's last bits depend on the batch's shape."""
_SHARD = 16  # batches per file of the cache


@dataclass
class Embedder:
    """A frozen prefix, the inputs it reads and the shelf that keeps its activations.

    Make one with :func:`embedder`. The prefix must not change as long as it is used.
    """

    trunk: Trunk
    cut: int
    inputs: Inputs
    backend: Backend
    shelf: Shelf

    def activations(self, examples: np.ndarray) -> Tensor:
        """The activation at the cut of every piece of ``examples``, in order; computed where it is not kept."""
        pieces, _ = pieces_of(self.inputs, examples)
        self.compute(examples)
        return self.shelf.take(self._keys(pieces))

    def features(self, examples: np.ndarray) -> Tensor:
        """Pooled features ``Float[Tensor, "examples width"]``: each example's pieces, averaged by weight."""
        pieces, positions = pieces_of(self.inputs, examples)
        values = self.activations(examples)
        weights = torch.from_numpy(np.asarray(self.inputs.weights)[pieces])
        return pool_pieces(values, torch.from_numpy(positions), weights, len(examples))

    def compute(self, examples: np.ndarray) -> None:
        """Run the prefix on whatever is not kept yet, with progress."""
        pieces, _ = pieces_of(self.inputs, examples)
        keys = self._keys(pieces)
        missing = {key: piece for key, piece in zip(keys, pieces, strict=True) if key not in self.shelf}
        if not missing:
            return
        todo = np.fromiter(missing.values(), dtype=np.int64)
        pending: list[tuple[FixedBatch, Tensor]] = []
        with progress(f"Running the frozen layers ({self.backend.name})", len(todo)) as advance:
            for batch in fixed_batches(self.inputs, todo, BATCH):
                values = self.backend.run(self.inputs.batch(batch.pieces))[: batch.count]
                if pending and (len(pending) >= _SHARD or pending[0][1].shape[1:] != values.shape[1:]):
                    self._keep(pending)
                    pending = []
                pending.append((batch, values))
                advance(batch.count)
        self._keep(pending)

    def _keep(self, pending: list[tuple[FixedBatch, Tensor]]) -> None:
        pieces = np.concatenate([batch.pieces[: batch.count] for batch, _ in pending])
        self.shelf.add(self._keys(pieces), torch.cat([values for _, values in pending]))

    def _keys(self, pieces: np.ndarray) -> list[str]:
        owners = np.asarray(self.inputs.owners)
        first = np.searchsorted(owners, owners[pieces], side="left")
        return [
            f"{self.inputs.keys[owner]}:{ordinal}"
            for owner, ordinal in zip(owners[pieces].tolist(), (pieces - first).tolist(), strict=True)
        ]


def embedder(
    trunk: Trunk,
    inputs: Inputs,
    *,
    cut: int,
    backend: str = "auto",
    device: torch.device | None = None,
    keep: bool = True,
) -> Embedder:
    """An :class:`Embedder` for the first ``cut`` blocks of ``trunk`` (all of them: pooled features).

    Parameters
    ----------
    backend
        ``auto``, ``eager`` or ``openvino``.
    keep
        False keeps activations in memory only.
    """
    device = device or torch.device("cpu")
    trunk.eval()
    chosen = choose_backend(
        trunk, cut, _one_batch_per_shape(inputs), wanted=backend, pieces=len(inputs.owners), device=device
    )
    facts: dict[str, object] = {
        "weights": hash_tensors(_owned(trunk, cut)),
        "network": hash_bytes(repr(trunk.network).encode()),
        "blocks": list(trunk.block_names[:cut]),
        "batch": BATCH,
        "backend": versions_of(chosen.name),
        "threads": torch.get_num_threads(),
        "device": device.type,
        "dtype": "float32",
    }
    return Embedder(trunk, cut, inputs, chosen, Shelf.open(facts) if keep else Shelf(None))


def _owned(trunk: Trunk, cut: int) -> dict[str, Tensor]:
    """Parameters and buffers of the first ``cut`` blocks."""
    names = set(trunk.block_names[:cut])
    state = trunk.network.state_dict()
    return {name: value for name, value in state.items() if trunk.block_of(name) in names}


def _one_batch_per_shape(inputs: Inputs) -> list[Batch]:
    buckets = np.asarray(inputs.buckets)
    first = [int(np.flatnonzero(buckets == bucket)[0]) for bucket in np.unique(buckets)]
    return [inputs.batch(np.repeat(np.int64(piece), BATCH)) for piece in first]

