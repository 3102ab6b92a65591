"""The frozen prefix of a train stage: run once for each example and each view, read from then on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from regraft.core.inputs import Inputs, View
from regraft.engine.processes.shares import compute_shared
from regraft.engine.streams import Stream
from regraft.engine.workspace import Workspace
from regraft.inference import Embedder


@dataclass
class Frozen:
    """What a stage reads instead of running its frozen layers.

    Attributes
    ----------
    plain, viewed
        The examples that are read as they are, and those that are read in views.
    """

    embedder: Embedder
    plain: np.ndarray
    viewed: np.ndarray
    work: Workspace
    _ready: set[View | None] = field(default_factory=set)

    @property
    def cut(self) -> int:
        """Number of blocks in the prefix."""
        return self.embedder.cut

    def activations(self, examples: np.ndarray, view: View | None = None) -> Tensor:
        """The activation at the cut of every piece; a view is run for all examples when it first comes."""
        self.prepare(view)
        return self.embedder.activations(examples, view=view)

    def prepare(self, view: View | None) -> None:
        """Run what is frozen for all examples that are read in a view, the first time that it comes."""
        if view in self._ready:
            return
        self._ready.add(view)
        processes = self.work.processes
        with self.work.spending("features"):
            if view is None:
                compute_shared(processes, self.embedder, self.plain)
            else:
                # Nobody waits in the middle of an epoch: what another process is late with, this one runs.
                self.embedder.compute(self.viewed, view=view, share=(processes.rank, processes.world))


def open_frozen(
    work: Workspace,
    model: str,
    cut: int,
    streams: Sequence[Stream],
    *,
    also: np.ndarray | None = None,
    inputs: Inputs | None = None,
    through: Frozen | None = None,
) -> Frozen | None:
    """The frozen prefix of a stage, run for its plain examples now; None where there is none, or where it is
    no function of the example and has to be run at every step.

    Parameters
    ----------
    streams
        Those that read the same inputs, the target's unless ``inputs`` are given.
    also
        Examples that are read plain beside them: those of the validation.
    through
        A shorter prefix of the same model whose activations are kept: this one is run on those.
    """
    if cut == 0:
        return None
    behind = None if through is None else through.embedder
    embedder = work.embedder(model, cut, inputs=inputs, through=behind)
    none = np.empty(0, dtype=np.int64)
    viewed = [stream.examples for stream in streams if stream.views]
    plain = [stream.examples for stream in streams if not stream.views]
    with work.spending("features"):
        others = none if also is None else also
        if not embedder.kept(np.concatenate([none, *plain, *viewed, others])):
            return None
    whole = np.unique(np.concatenate([others, *plain]))
    frozen = Frozen(embedder, whole, np.unique(np.concatenate([none, *viewed])), work)
    frozen.prepare(None)
    return frozen
