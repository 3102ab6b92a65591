"""Layers of the peft library: putting them in, and merging them into plain ones."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from regraft.core.errors import TrainingError
from regraft.core.optional import require
from regraft.engine.edits.edit import Change, replace_module

_ADAPTER = "default"


def peft() -> Any:
    """The peft library, or :class:`MissingPackageError`."""
    return require("peft", "Editing a network (LoRA and its kin)", "regraft[peft]")


def inject(config: Any, network: nn.Module, paths: Sequence[str]) -> tuple[Change, ...]:
    """Put adapters around the layers at these paths; nothing else of the network changes.

    ``config`` is one of peft's; which layers it is for is set here.
    """
    originals = {path: network.get_submodule(path) for path in paths}
    for path, layer in originals.items():
        replace_module(network, path, _plain(layer))
    config.target_modules = "|".join(re.escape(path) for path in paths)
    peft().inject_adapter_in_model(config, network, adapter_name=_ADAPTER)
    # What peft notes on the network itself would make it another one to the cache.
    network.__dict__.pop("peft_config", None)
    return tuple(Change(path, originals[path], network.get_submodule(path)) for path in paths)


def merge(change: Change) -> None:
    """Write an adapter into the weights of the layer that it is around."""
    layer: Any = change.now
    try:
        layer.merge(safe_merge=True)
    except ValueError as error:
        raise TrainingError(f"the adapter of {change.path} cannot be merged: {error}") from error


def _plain(layer: nn.Module) -> nn.Module:
    """A convolution of a class of its own as torch's, with its tensors: peft builds others of its class."""
    for kind in (nn.Conv1d, nn.Conv2d):
        if isinstance(layer, kind) and type(layer) is not kind:
            assert isinstance(layer, nn.Conv1d | nn.Conv2d)
            with torch.device("meta"):
                made = kind(
                    layer.in_channels,
                    layer.out_channels,
                    layer.kernel_size,  # type: ignore[arg-type]
                    layer.stride,  # type: ignore[arg-type]
                    layer.padding,  # type: ignore[arg-type]
                    bias=layer.bias is not None,
                )
            made._parameters.update(layer._parameters)
            return made.train(layer.training)
    return layer
