"""Any ``nn.Module`` as a source: handed over in memory, or built by a function of the user's own."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from regraft.core.errors import SourceError, UsageError
from regraft.core.hashing import hash_tensors
from regraft.core.inputs import Batch
from regraft.core.preprocessing import Preprocessing
from regraft.sources.skeleton import copy_module, makes_skeletons
from regraft.sources.source import BuilderSpec, NativeHead, Source, Weights
from regraft.sources.trunk import Block, Run, Trunk


def from_module(
    module: nn.Module,
    preprocessing: Preprocessing,
    *,
    name: str = "module",
    head: str | None = None,
    classes: Sequence[str] = (),
    licence: str = "not stated",
) -> Source:
    """A network in memory as a source.

    ``module`` takes ``pixels`` ``(pieces, channels, height, width)`` for images, ``input_ids`` and
    ``attention_mask`` ``(pieces, length)`` for text, and gives ``(pieces, width)``, or a map or tokens that
    are averaged. ``head`` is the name of the submodule that is its classifier: it is taken off. ``classes``
    are that classifier's. The module is cut between its children where it is ``nn.Sequential``, else where
    its graph can be: see :mod:`regraft.sources.cutting`.
    """
    tensors = module.state_dict()
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    weights = Weights(files=(), sha256=hash_tensors(tensors), size=size, licence=licence)
    return from_handed(name, module, preprocessing, weights, head=head, classes=classes)


def from_handed(
    name: str,
    handed: Any,
    preprocessing: Preprocessing,
    weights: Weights | None,
    *,
    head: str | None,
    classes: Sequence[str] = (),
) -> Source:
    """A source whose network the user hands over: a module, a function, or ``module:function``."""
    from regraft.sources.native import example_batch

    draft = Source(
        name=name,
        builder=BuilderSpec("user", {"head": head or "", "width": 0}),
        weights=weights,
        preprocessing=preprocessing,
        handed=handed,
    )
    trunk = (load_native(draft) or build_user(draft)).eval()
    width = _width(trunk, example_batch(draft, count=1), name)
    heads = _heads(draft, head, tuple(classes))
    return replace(
        draft,
        builder=BuilderSpec("user", {"head": head or "", "width": width}),
        outputs=trunk.stated_outputs,
        heads=heads,
        parameters=sum(parameter.numel() for parameter in trunk.parameters()),
    )


def _width(trunk: Trunk, batch: Batch, name: str) -> int:
    """How many features the network gives, found by running it once."""
    try:
        with torch.no_grad():
            return int(trunk(batch).shape[1])
    except RuntimeError as error:
        shapes = ", ".join(f"{key} {tuple(tensor.shape)}" for key, tensor in batch.items())
        raise SourceError(
            f"{name}: the network cannot run on what its preprocessing gives ({shapes}): {error}. "
            "State the preprocessing that it was built for, or its size (size=, --size)"
        ) from error


def build_user(source: Source) -> Trunk:
    """The user's network as a trunk, fresh where memory is given to its weights."""
    options = source.builder.options
    network = _without_head(_make(source), options["head"], source.name)
    return Trunk(network, _chain(network), options["width"], reads=source.preprocessing)


def read_module(source: Source) -> dict[str, Tensor]:
    """The tensors of a module in memory."""
    assert isinstance(source.handed, nn.Module)
    return dict(source.handed.state_dict())


def load_native(source: Source) -> Trunk | None:
    """A copy of the module in memory with its weights; None where there is only a builder."""
    if not isinstance(source.handed, nn.Module):
        return None
    options = source.builder.options
    network = _without_head(copy_module(source.handed), options["head"], source.name)
    return Trunk(network, _chain(network), options["width"], reads=source.preprocessing)


def import_builder(text: str) -> Any:
    """The function that ``module:function`` names; modules in the working folder are found."""
    path, colon, function = text.partition(":")
    if not colon or not path or not function:
        raise UsageError(f"a builder is written 'module:function', as in 'mymodels:build'; got {text!r}")
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        return getattr(importlib.import_module(path), function)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"builder {text!r}: there is no module {error.name!r} to import from {here}"
        ) from error
    except AttributeError as error:
        raise UsageError(f"builder {text!r}: {error}") from error
    finally:
        if added:
            sys.path.remove(here)


def _make(source: Source) -> nn.Module:
    handed = source.handed
    if handed is None:
        raise UsageError(
            f"{source.name} is a network of your own: hand its builder over again with "
            "builder='module:function' (--builder module:function)"
        )
    if isinstance(handed, nn.Module):
        return _afresh(source.name, copy_module(handed))
    return make_network(handed, source.name)


def make_network(builder: str | Callable[[], nn.Module], name: str) -> nn.Module:
    """What a function of the user's own, or the one that ``module:function`` names, builds."""
    function = import_builder(builder) if isinstance(builder, str) else builder
    module = function()
    if not isinstance(module, nn.Module):
        raise UsageError(f"{name}: its builder gave a {type(module).__name__}, not an nn.Module")
    return module


def _afresh(name: str, module: nn.Module) -> nn.Module:
    """Every parameter drawn anew by the module that owns it, so that no pretrained value is left."""
    if makes_skeletons():
        return module
    for path, part in module.named_modules():
        own = list(part.parameters(recurse=False))
        reset = getattr(part, "reset_parameters", None)
        if reset is not None:
            reset()
        elif own:
            raise SourceError(
                f"{name}: its part {path or type(module).__name__!r} ({type(part).__name__}) cannot be "
                "initialised anew, because it has no reset_parameters(). Give it one, or hand over a "
                "function that builds the network"
            )
    return module


def _without_head(network: nn.Module, head: str, name: str) -> nn.Module:
    if not head:
        return network
    path, _, leaf = head.rpartition(".")
    try:
        parent = network.get_submodule(path)
        parent.get_submodule(leaf)
    except AttributeError as error:
        children = ", ".join(child for child, _ in network.named_children())
        raise UsageError(f"{name} has no submodule {head!r} to take off; it has {children}") from error
    setattr(parent, leaf, nn.Identity())
    return network


def _heads(source: Source, head: str | None, classes: tuple[str, ...]) -> tuple[NativeHead, ...]:
    return (NativeHead(f"{head}.weight", f"{head}.bias", classes),) if head else ()


def _chain(network: nn.Module) -> list[Block] | Run:
    if type(network) is not nn.Sequential:
        return _whole
    names = list(network._modules)  # one module may stand at several places, and runs at each
    blocks = [Block(name, partial(_child, name), (name,)) for name in names]
    return [*blocks, Block("pool", _pool)]


def _child(name: str, network: nn.Module, activation: Tensor | None, inputs: Batch) -> Tensor:
    given = inputs["pixels"] if "pixels" in inputs else inputs["input_ids"]
    tensor: Tensor = network.get_submodule(name)(given if activation is None else activation)
    return tensor


def _whole(network: nn.Module, activation: Tensor | None, inputs: Batch) -> Tensor:
    if "pixels" in inputs:
        given = network(inputs["pixels"])
    elif len(inspect.signature(network.forward).parameters) == 1:
        given = network(inputs["input_ids"])
    else:
        given = network(inputs["input_ids"], inputs["attention_mask"])
    return _pool(network, getattr(given, "last_hidden_state", given), inputs)


def _pool(network: nn.Module, activation: Tensor | None, inputs: Batch) -> Tensor:
    assert activation is not None
    if activation.ndim == 2:
        return activation
    if activation.ndim == 4:
        return activation.mean((2, 3))
    mask = inputs.get("attention_mask")
    if activation.ndim != 3:
        raise SourceError(
            f"a network has to give (pieces, width), a map or tokens; got {tuple(activation.shape)}"
        )
    if mask is None or mask.shape != activation.shape[:2]:
        return activation.mean(1)
    kept = mask.to(activation.dtype)[..., None]
    return (activation * kept).sum(1) / kept.sum(1).clamp(min=1)
