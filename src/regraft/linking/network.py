"""Network: one side of a link, in the form in which it can be traced and run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from regraft.core.errors import LinkError
from regraft.sources.trunk import Trunk

Given = Tensor | tuple[Any, ...] | Mapping[str, Any]
"""What a person hands to ``verify``: one tensor, a tuple of arguments, or a mapping of named ones."""


@dataclass(frozen=True)
class Call:
    """Arguments of one call of a network."""

    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Network:
    """One side of a link.

    Attributes
    ----------
    module
        Takes a :class:`Call`'s arguments. Its parameters may be on the meta device: then it can be traced and
        not run.
    keys
        Names in the module's state dict to names in the link: the source's keys, or the target's slots.
    example
        Made-up inputs that it can read.
    blocks
        Says of a name in the module's state dict which block owns it.
    """

    module: nn.Module
    keys: Mapping[str, str]
    example: Call
    blocks: Callable[[str], str]

    def adapt(self, given: Given) -> Call:
        """Inputs as this network takes them: a tensor, a tuple or a mapping; a trunk reads a mapping."""
        if isinstance(self.module, Whole):
            return Call((_batch(given),))
        if isinstance(given, Tensor):
            return Call((given,))
        if isinstance(given, tuple):
            return Call(given)
        known = inspect.signature(self.module.forward).parameters
        free = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
        if all(name in known for name in given) or (free and not set(given) & {"pixels"}):
            return Call((), dict(given))
        return Call(tuple(given.values())[: len(known)])

    def run(self, call: Call) -> list[Tensor]:
        """The floating-point tensors that the network gives, in order."""
        with torch.inference_mode():
            return outputs_of(self.module(*call.args, **call.kwargs))


class Whole(nn.Module):
    """A trunk, and the source's own head where it has one, as one module that reads a batch."""

    def __init__(self, trunk: Trunk, head: nn.Module | None = None):
        super().__init__()
        self.trunk = trunk
        self.head = head

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Pooled features, or what the head makes of them."""
        features: Tensor = self.trunk(inputs)
        return features if self.head is None else self.head(features)


def tensors_in(module: nn.Module) -> dict[str, Tensor]:
    """What a module's state dict holds of tensors; it may hold other state of the module's own."""
    state = module.state_dict(keep_vars=True)
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def outputs_of(given: Any) -> list[Tensor]:
    """The floating-point tensors in what a network returned: a tensor, a tuple, a mapping or both nested."""
    if isinstance(given, Tensor):
        return [given] if given.is_floating_point() else []
    if isinstance(given, Mapping):
        given = list(given.values())
    if isinstance(given, (tuple, list)):
        return [tensor for item in given for tensor in outputs_of(item)]
    return []


def _batch(given: Given) -> dict[str, Tensor]:
    if isinstance(given, Mapping):
        named = dict(given)
        if "pixel_values" in named:
            named["pixels"] = named.pop("pixel_values")
        return named
    values = given if isinstance(given, tuple) else (given,)
    if not values or not isinstance(values[0], Tensor):
        raise LinkError(f"a network reads tensors; got {type(given).__name__}")
    if values[0].is_floating_point():
        return {"pixels": values[0]}
    mask = values[1] if len(values) > 1 else torch.ones_like(values[0])
    return {"input_ids": values[0], "attention_mask": mask}


def block_free(name: str) -> str:
    """No block: for networks of which only the calls matter."""
    return ""
