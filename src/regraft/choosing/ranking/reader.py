"""Running a candidate's network: timed on a few examples, then once over each example that is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
import torch

from regraft.choosing.ranking.sample import Sample, check_aligned
from regraft.engine import Settings
from regraft.engine.companion_price import timed
from regraft.inference import Embedder
from regraft.sources import Source, Trunk, load_native

_TIMED = 8  # examples
_CHUNK = 64  # examples that are run between two lines of progress

Tick = Callable[[int], None]
"""Is told how many examples were read."""


@dataclass
class Reader:
    """One source's network, opened when it is first needed.

    What the network gave is kept in the activation cache under the examples' content, so that a larger sample
    runs only what is new in it, and a ranking that was interrupted goes on.

    Parameters
    ----------
    source
        Whose network.
    settings
        Device and backend.
    backend
        What the first sample was run on; it is kept for those after it, because values of different backends
        are not the same values.
    """

    source: Source
    settings: Settings
    device: torch.device
    backend: str = ""
    _trunk: Trunk | None = field(default=None, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_trunk": None}  # a network is opened where it is run

    @property
    def trunk(self) -> Trunk:
        """The network with its weights."""
        if self._trunk is None:
            self._trunk = load_native(self.source).to(self.device)
        return self._trunk

    def close(self) -> None:
        """Let go of the network; it is loaded again where it is needed again."""
        self._trunk = None

    def seconds(self, sample: Sample) -> float:
        """Seconds for reading one example and running the network, eagerly, measured on a few; opening the
        network is not in it.
        """
        few = Sample(sample.target, sample.spec, sample.seed, sample.indices[:_TIMED])
        start = perf_counter()
        prepared, _ = few.read_by(self.source.preprocessing)
        reading = perf_counter() - start  # nothing where pixels are kept from before
        if not len(prepared.inputs):
            return 0.0
        pieces = np.arange(len(prepared.inputs.owners))
        batch = {name: one.to(self.device) for name, one in prepared.inputs.batch(pieces).items()}
        trunk = self.trunk

        def run() -> None:
            with torch.inference_mode():
                trunk.prefix(batch, cut=len(trunk.blocks))

        return (timed(run) + reading) / len(prepared.inputs)

    def features(self, sample: Sample, tick: Tick) -> np.ndarray:
        """Pooled features ``float32 (N, width)`` of a sample whose examples can be read.

        Raises ``SourceError`` where the network reads fewer of them than other sources' do.
        """
        prepared, places = sample.read_by(self.source.preprocessing)
        check_aligned(sample, places, self.source.name)
        trunk = self.trunk
        embedder = Embedder(
            trunk,
            prepared.inputs,
            cut=len(trunk.blocks),
            backend=self.backend or self.settings.backend,
            device=self.device,
            activations=self.settings.activations,
            limit=self.settings.cache_limit,
            title=self.source.name,
        )
        every = np.arange(len(sample))
        for start in range(0, len(every), _CHUNK):
            chunk = every[start : start + _CHUNK]
            embedder.compute(chunk)
            tick(len(chunk))
        self.backend = embedder.backend_name
        return embedder.features(every).numpy()
