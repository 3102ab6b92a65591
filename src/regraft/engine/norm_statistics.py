"""Statistics of batch norm for weights that no training step has seen: collected in one pass.

Averaged weights give activations of another mean and spread than any of those that were averaged (Izmailov et
al. 2018, section 3.2), so the statistics are those of the training examples under the new weights: the mean
over equal batches of each batch's own.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from regraft.core.randomness import torch_randomness
from regraft.engine.forward import Forward
from regraft.linking import Grafted

_BATCH = 64


def norm_layers(model: Grafted, names: Iterable[str]) -> list[_BatchNorm]:
    """The batch-norm layers one of whose running statistics is among these tensors of the model."""
    owners = {name.rpartition(".")[0] for name in names if name.endswith(("running_mean", "running_var"))}
    return [
        module
        for name, module in model.named_modules()
        if name in owners and isinstance(module, _BatchNorm) and module.track_running_stats
    ]


@torch.no_grad()
def recompute(forward: Forward, layers: list[_BatchNorm], examples: np.ndarray) -> None:
    """Collect the statistics of these layers anew from examples, read as they are; all else is in eval mode.

    The model is left in ``eval()``. A single example has no spread: its statistics are left as they were.
    """
    if len(examples) < 2:
        return
    forward.model.eval()
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # PyTorch's word for a plain mean over all batches
        layer.train()
    try:
        for batch in np.array_split(examples, -(-len(examples) // _BATCH)):
            with torch_randomness(0, "norm statistics", int(batch[0])):
                forward(batch)
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
            layer.eval()
