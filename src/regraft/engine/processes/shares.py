"""Work on examples that the processes divide among themselves: frozen layers, and heads' outputs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from regraft.engine.processes.group import Processes
from regraft.inference import Embedder

Outputs = dict[str, np.ndarray]


def compute_shared(processes: Processes, embedder: Embedder, examples: np.ndarray) -> None:
    """Run a frozen prefix over examples: each process over its share of what is not kept, into one cache.

    Where the processes share no disk, each runs what it does not find.
    """
    if processes.many and embedder.keep:
        embedder.compute(examples, share=(processes.rank, processes.world))
        processes.wait("while the frozen layers run")
        embedder.refresh()
    embedder.compute(examples)


def outputs_shared(
    processes: Processes, examples: np.ndarray, compute: Callable[[np.ndarray], Outputs]
) -> Outputs:
    """What ``compute`` gives for examples, rows in their order: each process computes its share."""
    if not processes.many or len(examples) == 0:
        return compute(examples)
    mine = processes.slice.take(examples)
    found = compute(mine if len(mine) else examples[:1])  # even nothing has a width
    return processes.join({name: rows[: len(mine)] for name, rows in found.items()})
