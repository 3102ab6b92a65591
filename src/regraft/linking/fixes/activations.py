"""Activations by name: told apart by what they compute, whatever their library calls them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class QuickGELU(nn.Module):
    """``x sigmoid(1.702 x)``, as CLIP has it (Hendrycks and Gimpel, 2016, section 2)."""

    def forward(self, input: Tensor) -> Tensor:
        """Each value by itself."""
        return input * torch.sigmoid(1.702 * input)


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "gelu": nn.GELU,
    "gelu_tanh": lambda: nn.GELU(approximate="tanh"),
    "quick_gelu": QuickGELU,
    "silu": nn.SiLU,
    "hardswish": nn.Hardswish,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "mish": nn.Mish,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "hardsigmoid": nn.Hardsigmoid,
    "softplus": nn.Softplus,
}
"""Every activation that a fix may name."""

_WORDS = ("relu", "gelu", "silu", "swish", "mish", "elu", "tanh", "sigmoid", "softplus", "act")


def name_activation(function: Any) -> str | None:
    """The name of what ``function`` computes, found by calling it on numbers from -8 to 8; None if unknown.

    ``gelu`` and ``gelu_tanh`` are 5e-4 apart at most: they are told apart as well.
    """
    probe = torch.linspace(-8, 8, 161)
    try:
        with torch.inference_mode():
            given = function(probe.clone())
    except (TypeError, ValueError, RuntimeError, NotImplementedError, AttributeError):
        return None
    if not isinstance(given, Tensor) or given.shape != probe.shape:
        return None
    return next((name for name, values in _table(probe) if torch.allclose(given, values, atol=2e-6)), None)


def find_activations(module: nn.Module) -> dict[str, str]:
    """Every activation of a network that can be exchanged: its path, and the name of what it computes.

    Modules, and functions that a module keeps in an attribute (``nn.TransformerEncoderLayer.activation``).
    """
    found = dict(_held_functions(module))
    for path, part in module.named_modules(remove_duplicate=False):
        kind = type(part).__name__.lower()
        leaf = not any(True for _ in part.children()) and not any(True for _ in part.parameters())
        if path and leaf and any(word in kind for word in _WORDS):
            name = name_activation(part)
            if name is not None:
                found[path] = name
    return found


def set_activation(root: nn.Module, path: str, name: Any) -> None:
    """Exchange the activation at ``path``, a submodule or a function that a module keeps; see ACTIVATIONS."""
    owner, _, leaf = path.rpartition(".")
    parent = root.get_submodule(owner)
    made = ACTIVATIONS[name]()
    made.train(parent.training)
    if leaf in parent._modules:
        parent._modules[leaf] = made
    elif isinstance(parent, nn.TransformerEncoderLayer):
        # The layer's fused kernel knows two activations and goes by this number.
        parent.activation = getattr(functional, name, made) if name in ("relu", "gelu") else made
        parent.activation_relu_or_gelu = {"relu": 1, "gelu": 2}.get(name, 0)
    elif callable(parent.__dict__.get(leaf)):
        parent.__dict__[leaf] = _as_function(name, made)
    else:
        raise AttributeError(path)


def _as_function(name: str, made: nn.Module) -> Any:
    """Torch's own function where there is one; else the module, which holds no tensors."""
    return getattr(functional, name, made) if name != "gelu_tanh" else made


def _held_functions(module: nn.Module) -> Iterator[tuple[str, str]]:
    for path, part in module.named_modules(remove_duplicate=False):
        for key, value in part.__dict__.items():
            if "act" in key and callable(value) and not isinstance(value, type):
                name = name_activation(value)
                if name is not None:
                    yield (f"{path}.{key}" if path else key), name


def _table(probe: Tensor) -> Iterator[tuple[str, Tensor]]:
    with torch.inference_mode():
        for name, make in ACTIVATIONS.items():
            yield name, make()(probe.clone())
