"""A frozen prefix over inputs that come in parts: while one part is run, the next one is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from regraft.core.console import progress
from regraft.core.inputs import Inputs
from regraft.inference.backends import Backend, choose_backend, open_for
from regraft.inference.batching import fixed_batches
from regraft.inference.embedding import BATCH
from regraft.inference.overlap import ahead
from regraft.linking import pool_pieces
from regraft.sources import Trunk
from regraft.targets import Items

Rows = tuple[np.ndarray, dict[str, Tensor], Tensor]
"""Numbers of pieces, their inputs, and what the prefix gave for them."""


class Stream:
    """Runs a prefix on parts of items, keeps nothing, and holds one part at a time.

    What it gives for an example is to the bit what :class:`regraft.inference.Embedder` gives on the same
    backend: batches have the same size, and are padded alike.

    Parameters
    ----------
    trunk, cut
        The prefix is the first ``cut`` blocks.
    total
        How many items all parts have together, by which the backend is chosen.
    backend
        One of :data:`regraft.inference.backends.BACKENDS`.
    dtype
        What is multiplied; activations are float32.
    """

    def __init__(
        self,
        trunk: Trunk,
        cut: int,
        *,
        total: int,
        backend: str = "auto",
        device: torch.device | None = None,
        dtype: torch.dtype = torch.float32,
    ):
        self.trunk, self.cut, self.total = trunk.eval(), cut, total
        self.device = device or torch.device("cpu")
        self._wanted, self._dtype = backend, dtype
        self._backend: Backend | None = None

    @property
    def backend_name(self) -> str:
        """The backend that ran so far; ``eager`` where nothing had to be run."""
        return "eager" if self._backend is None else self._backend.name

    def read(self, parts: Iterable[Items]) -> Iterator[Items]:
        """The parts in their order, the next one read meanwhile, with progress."""
        with progress("Reading and running", self.total, unit="items") as advance:
            for part in ahead(parts, depth=1):
                yield part
                advance(len(part.names))

    def run(self, inputs: Inputs) -> Iterator[Rows]:
        """Every piece of these inputs, bucket by bucket, in the order of pieces within each."""
        if not len(inputs.owners):
            return
        backend = self._open(inputs)
        batches = fixed_batches(inputs, np.arange(len(inputs.owners)), BATCH)
        for batch, tensors in ahead((one, inputs.batch(one.pieces)) for one in batches):
            values = backend.run(tensors)
            count = batch.count
            yield batch.pieces[:count], {name: one[:count] for name, one in tensors.items()}, values[:count]

    def pooled(self, inputs: Inputs) -> Tensor:
        """Pooled features ``Float[Tensor, "examples width"]``, where the prefix is the whole trunk."""
        found = torch.zeros(len(inputs.owners), self.trunk.width)
        for pieces, _, values in self.run(inputs):
            found[torch.from_numpy(pieces)] = values
        owners, weights = (torch.from_numpy(np.asarray(one)) for one in (inputs.owners, inputs.weights))
        return pool_pieces(found, owners, weights, len(inputs))

    def _open(self, inputs: Inputs) -> Backend:
        if self._backend is None:
            name = choose_backend(
                self._wanted,
                self.trunk,
                self.cut,
                inputs,
                self.device,
                pieces=max(self.total, len(inputs.owners)),
            )
            self._backend = open_for(
                name, self.trunk, self.cut, inputs, self.device, size=BATCH, dtype=self._dtype
            )
        return self._backend
