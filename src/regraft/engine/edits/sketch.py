"""Stand-ins for layers of the peft library, from which plans are priced: peft takes seconds to import.

They add the same tensors by the same names and do about the same work; no run trains them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from regraft.engine.edits.edit import Change, replace_module
from regraft.engine.edits.peft_layers import peft

_NAME = "default"


def sketched(
    network: nn.Module, paths: Sequence[str], stand_in: Callable[[str, Any], nn.Module]
) -> tuple[Change, ...]:
    """Put ``stand_in(path, layer)`` in the place of each layer. Raises as an import of peft would."""
    if importlib.util.find_spec("peft") is None:
        peft()
    changes = []
    for path in paths:
        layer = network.get_submodule(path)
        changes.append(Change(path, layer, stand_in(path, layer)))
        replace_module(network, path, changes[-1].now)
    return tuple(changes)


class LowRank(nn.Module):
    """``W x + b + B A x``, scaled to a trained norm for each output where ``magnitude`` says so."""

    def __init__(self, layer: Any, rank: int, *, magnitude: bool):
        super().__init__()
        self.base_layer = layer
        like: dict[str, Any] = {"device": layer.weight.device, "dtype": layer.weight.dtype, "bias": False}
        if isinstance(layer, nn.Linear):
            down: Any = nn.Linear(layer.in_features, rank, **like)
            up: Any = nn.Linear(rank, layer.out_features, **like)
        else:
            kind: Any = nn.Conv1d if isinstance(layer, nn.Conv1d) else nn.Conv2d
            down = kind(layer.in_channels, rank, layer.kernel_size, layer.stride, layer.padding, **like)
            up = kind(rank, layer.out_channels, 1, **like)
        nn.init.zeros_(up.weight)
        self.lora_A, self.lora_B = nn.ModuleDict({_NAME: down}), nn.ModuleDict({_NAME: up})
        if magnitude:
            self.lora_magnitude_vector = nn.ModuleDict({_NAME: _Magnitude(layer)})

    def forward(self, x: Tensor) -> Tensor:
        """``Float[.., in]`` to ``Float[.., out]``, or maps."""
        changed: Tensor = self.lora_B[_NAME](self.lora_A[_NAME](x))
        given: Tensor = self.base_layer(x) + changed
        if "lora_magnitude_vector" not in self._modules:
            return given
        with torch.no_grad():
            down: Any = self.lora_A[_NAME].weight
            up: Any = self.lora_B[_NAME].weight
            product = (up.flatten(1) @ down.flatten(1)).view_as(self.base_layer.weight)
            norm = _norm(self.base_layer.weight + product)
        magnitude: Any = self.lora_magnitude_vector[_NAME].weight
        factor = magnitude / norm
        bias = 0 if self.base_layer.bias is None else _along(self.base_layer.bias, self.base_layer.weight)
        return (given - bias) * factor + bias


class Factors(nn.Module):
    """``l * (W x + b)``, or ``W (l * x) + b``."""

    def __init__(self, layer: Any, *, inputs: bool):
        super().__init__()
        self.base_layer, self.inputs = layer, inputs
        out, reads = layer.weight.shape[:2]
        shape = (1, reads) if inputs else (out, 1) if isinstance(layer, nn.Linear) else (1, out)
        shape += (1,) * (layer.weight.ndim - 2)
        ones = torch.ones(shape, device=layer.weight.device, dtype=layer.weight.dtype)
        self.ia3_l = nn.ParameterDict({_NAME: nn.Parameter(ones)})

    def forward(self, x: Tensor) -> Tensor:
        """``Float[.., in]`` to ``Float[.., out]``, or maps."""
        factor = self.ia3_l[_NAME].flatten() if isinstance(self.base_layer, nn.Linear) else self.ia3_l[_NAME]
        if self.inputs:
            x = x * factor
        given: Tensor = self.base_layer(x)
        return given if self.inputs else given * factor


class _Magnitude(nn.Module):
    def __init__(self, layer: Any):
        super().__init__()
        self.weight = nn.Parameter(_norm(layer.weight.detach()))


def _norm(weight: Tensor) -> Tensor:
    """Of each output's weights, in a shape that multiplies what the layer gives."""
    return _along(weight.flatten(1).norm(dim=1), weight)


def _along(values: Tensor, weight: Tensor) -> Tensor:
    return values if weight.ndim == 2 else values.view(1, -1, *(1,) * (weight.ndim - 2))
