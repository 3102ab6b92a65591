"""What a network without its weights tells: how much it multiplies, and of which kind it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regraft.core.preprocessing import ImagePreprocessing
from regraft.sources.source import Source

if TYPE_CHECKING:
    from torch import nn


def count_macs(source: Source) -> float | None:
    """Multiplications for one image of the native size, counted on the meta device.

    Those of convolutions, matrix products and attention count, not those of activations and pooling. None
    where an example has no native size, as texts have none, and where the network cannot be built here or
    decides by values, which the meta device has not.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from regraft.sources.example import example_of
    from regraft.sources.registry import build_trunk

    if not source.buildable or not isinstance(source.preprocessing, ImagePreprocessing):
        return None
    batch = {name: tensor.to("meta") for name, tensor in example_of(source.preprocessing, count=1).items()}
    with torch.device("meta"):
        trunk = build_trunk(source).eval()
    try:
        with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
            trunk(batch)
    except (RuntimeError, NotImplementedError):  # what it asks for has no value here
        return None
    return counter.get_total_flops() / 2 or None


def kind_of_network(source: Source) -> str:
    """``recurrent``, ``transformer`` or ``convolutional`` by the layers that it holds; empty for others."""
    import torch

    from regraft.sources.registry import build_trunk

    if not source.buildable:
        return ""
    with torch.device("meta"):
        network = build_trunk(source).network
    return kind_of(network)


def kind_of(network: nn.Module) -> str:
    """The kind of a network in memory; one with attention is a transformer, whatever its stem."""
    from torch import nn

    modules = list(network.modules())
    if any(isinstance(module, nn.RNNBase) for module in modules):
        return "recurrent"
    if any("attention" in type(module).__name__.lower() for module in modules):
        return "transformer"
    if any(isinstance(module, nn.modules.conv._ConvNd) for module in modules):
        return "convolutional"
    return ""
