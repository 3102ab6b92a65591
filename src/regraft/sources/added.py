"""Layers that a run added to a network and that no weight of it can take up: as data, and put in again.

A bundle names them in ``model.json``, by a registered kind, the places and plain options; whoever rebuilds
the network puts them in before weights are loaded. The tensors that the network had keep their names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from regraft.core.errors import SourceError
from regraft.sources.layers import is_convolution, is_linear

ADAPTER = "adapter"
"""The one kind there is: bottlenecks behind layers; and what the module is called that they are in."""
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "relu": functional.relu,
    "tanh": torch.tanh,
}
WIDEST = 65_536


@dataclass(frozen=True)
class AddedLayers:
    """Layers of one kind that were added to a network.

    Attributes
    ----------
    kind
        As registered: ``adapter``, a :class:`Bottleneck` behind each of the places.
    places
        Paths of the layers that they stand behind.
    options
        ``width`` and ``activation`` of each.
    """

    kind: str
    places: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {"kind": self.kind, "places": list(self.places), "options": self.options}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> AddedLayers:
        """From plain JSON. Raises :class:`SourceError` for what this version does not know."""
        kind, options = str(data["kind"]), dict(data["options"])
        if kind != ADAPTER:
            raise SourceError(f"no kind of added layers is called {kind!r}; there is {ADAPTER}")
        check_options(options)
        return cls(kind, tuple(str(place) for place in data["places"]), options)

    def put_into(self, network: nn.Module) -> None:
        """Add them with their initial values. Raises :class:`SourceError` for a place that is none."""
        for place in self.places:
            parent, _, leaf = place.rpartition(".")
            try:
                layer = network.get_submodule(place)
            except AttributeError as error:
                raise SourceError(
                    f"layers are to be added behind {place!r}, and {type(network).__name__} has no such layer"
                ) from error
            network.get_submodule(parent)._modules[leaf] = adapted(layer, place, **self.options)


def check_options(options: Mapping[str, Any]) -> None:
    """Raise :class:`SourceError` for options that no bottleneck has."""
    width, activation = options.get("width"), options.get("activation")
    if isinstance(width, bool) or not isinstance(width, int) or not 1 <= width <= WIDEST:
        raise SourceError(f"the width of an adapter is a whole number from 1 to {WIDEST}; got {width!r}")
    if activation not in ACTIVATIONS:
        raise SourceError(f"an adapter has one of {', '.join(ACTIVATIONS)}; got {activation!r}")
    strange = sorted(set(options) - {"width", "activation"})
    if strange:
        raise SourceError(f"an adapter has a width and an activation; got {', '.join(strange)}")


def can_adapt(layer: nn.Module) -> bool:
    """Whether a bottleneck can stand behind a layer: Linear, or an ordinary convolution."""
    return is_linear(layer) or is_convolution(layer, nn.Conv1d, nn.Conv2d)


class Bottleneck(nn.Module):
    """``x + up(activation(down(x)))`` with ``width`` channels between, of each position by itself.

    ``up`` begins at 0, so it begins as nothing. It reads ``Float[.., channels]`` behind a Linear layer and
    ``Float[pieces, channels, ..]`` behind a convolution.

    Source: Houlsby et al. (2019), "Parameter-efficient transfer learning for NLP", figure 2.
    """

    down: nn.Module
    up: nn.Module

    def __init__(self, layer: Any, width: int, activation: str):
        super().__init__()
        like: dict[str, Any] = {"device": layer.weight.device, "dtype": layer.weight.dtype}
        if isinstance(layer, nn.Linear):
            self.down = nn.Linear(layer.out_features, width, **like)
            self.up = nn.Linear(width, layer.out_features, **like)
        else:
            kind: Any = nn.Conv1d if isinstance(layer, nn.Conv1d) else nn.Conv2d
            self.down = kind(layer.out_channels, width, 1, **like)
            self.up = kind(width, layer.out_channels, 1, **like)
        self.activation = activation
        self.begin()

    def begin(self) -> None:
        """Become nothing."""
        for parameter in self.up.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """``x`` and what is learned beside it."""
        changed: Tensor = self.up(ACTIVATIONS[self.activation](self.down(x)))
        return x + changed


class AdaptedLinear(nn.Linear):
    """A Linear layer's own tensors, and a bottleneck behind what it gives."""

    adapter: Bottleneck

    def forward(self, input: Tensor) -> Tensor:
        """The layer, then the bottleneck."""
        given: Tensor = self.adapter(super().forward(input))
        return given


class AdaptedConv1d(nn.Conv1d):
    """A convolution's own tensors, and a bottleneck behind what it gives."""

    adapter: Bottleneck

    def forward(self, input: Tensor) -> Tensor:
        """The convolution, then the bottleneck."""
        given: Tensor = self.adapter(super().forward(input))
        return given


class AdaptedConv2d(nn.Conv2d):
    """A convolution's own tensors, and a bottleneck behind what it gives."""

    adapter: Bottleneck

    def forward(self, input: Tensor) -> Tensor:
        """The convolution, then the bottleneck."""
        given: Tensor = self.adapter(super().forward(input))
        return given


def adapted(layer: nn.Module, place: str, *, width: int, activation: str) -> nn.Module:
    """A layer with a bottleneck behind it, which has the layer's own tensors under their own names."""
    if not can_adapt(layer):
        raise SourceError(
            f"an adapter stands behind Linear layers and convolutions; {place} is a {type(layer).__name__}"
        )
    made = _alike(layer)
    made._parameters.update(layer._parameters)
    made.add_module(ADAPTER, Bottleneck(layer, width, activation))
    return made.train(layer.training)


def _alike(layer: nn.Module) -> nn.Module:
    """A layer that computes the same, its tensors without memory."""
    meta: dict[str, Any] = {"device": torch.device("meta"), "bias": layer.bias is not None}
    if isinstance(layer, nn.Linear):
        return AdaptedLinear(layer.in_features, layer.out_features, **meta)
    assert isinstance(layer, nn.Conv1d | nn.Conv2d)
    kind: type[nn.Conv1d | nn.Conv2d] = AdaptedConv1d if isinstance(layer, nn.Conv1d) else AdaptedConv2d
    return kind(
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size,  # type: ignore[arg-type]
        layer.stride,  # type: ignore[arg-type]
        layer.padding,  # type: ignore[arg-type]
        **meta,
    )
