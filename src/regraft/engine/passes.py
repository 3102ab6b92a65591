"""Passes over what a stage reads before its first step, in a model that it does not train."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from regraft.core.randomness import torch_randomness
from regraft.engine.forward import Forward
from regraft.engine.frozen import open_frozen
from regraft.engine.streams import Stream
from regraft.engine.workspace import Workspace
from regraft.inference import LazyBatch, pieces_of
from regraft.terms import Pass
from regraft.terms.term import Maps

_BATCH = 32


def passes(work: Workspace, model: str, stream: Stream, blocks: Sequence[str]) -> Iterator[Pass]:
    """Every example of a stream of the target, some at a time, as :class:`Pass` says.

    What stands in front of the first of the ``blocks`` comes from what is kept of it; all passes together
    are a function of the model, the examples and the plan's seed.
    """
    grafted, inputs = work.models[model].requires_grad_(False).eval(), work.inputs_of(model)
    cuts = {block: grafted.trunk.cut_after(block) for block in blocks}
    plain = replace(stream, views=0, mixer=None)
    frozen = open_frozen(work, model, min(cuts.values()), [plain], inputs=inputs)
    forward = Forward(grafted, inputs, work.device, frozen, cut=min(cuts.values()))
    for start in range(0, len(stream.examples), min(stream.batch, _BATCH)):
        examples = stream.examples[start : start + min(stream.batch, _BATCH)]
        with torch_randomness(work.draw.seed, "pass", model, stream.name, start), torch.enable_grad():
            outputs, found = _look(forward, examples, sorted(set(cuts.values())))
        labels = work.labels(examples) if stream.labelled else {}
        yield Pass(
            outputs,
            {block: found[cut] for block, cut in cuts.items()},
            {name: values.to(work.device) for name, values in labels.items()},
        )


def _look(
    forward: Forward, examples: np.ndarray, keep: Sequence[int]
) -> tuple[dict[str, Tensor], dict[int, Maps]]:
    """Outputs for some examples, and the maps after so many blocks, from which on a graph is kept."""
    inputs, device = forward.inputs, forward.device
    pieces, positions = pieces_of(inputs, examples)
    batch = LazyBatch(lambda: {name: values.to(device) for name, values in inputs.batch(pieces).items()})
    first = forward.activation(examples, None, batch)
    assert first is not None  # there is a block in front of the first cut
    owners = torch.from_numpy(positions).to(device)
    weights = torch.from_numpy(np.asarray(inputs.weights)[pieces]).to(device)
    leaf = first.detach().float().requires_grad_(True)
    _, outputs, found = forward.model.run_from(
        leaf, batch, owners, weights, len(examples), cut=forward.cut, keep=keep
    )
    lengths = None if inputs.lengths is None else torch.from_numpy(np.asarray(inputs.lengths)[pieces])
    own = None if lengths is None else lengths.to(device)
    return outputs, {cut: Maps(values, owners, weights, own) for cut, values in found.items()}
