"""From a name to a Source, from a Source to its trunk and its weights. Adapters are imported when used."""

from __future__ import annotations

import difflib
import importlib
import inspect
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regraft.core.errors import SourceError, UsageError
from regraft.sources.source import Source

if TYPE_CHECKING:
    from torch import Tensor

    from regraft.sources.checkpoint import Checkpoint
    from regraft.sources.trunk import Trunk

_HOME = "regraft.sources."

ADAPTERS = {
    "packaged": "packaged",
    "timm": "timm",
    "torchvision": "torchvision",
    "hf": "huggingface",
    "file": "file",
    "bundle": "bundle",
    "small": "small",
}
"""Prefix of a name -> the module whose ``find(rest, **options)`` knows those names."""

BUILDERS = {
    "efficientnet-lite": "efficientnet_lite",
    "transformers": "transformer",
    "timm": "timm",
    "torchvision": "torchvision",
    "small-image": "small",
    "small-text": "small",
    "joined": "joined",
    "user": "module",
}
"""Name of a builder -> the module whose ``build(**options)`` gives the trunk without weights."""


def find(name: str | Source, **options: Any) -> Source:
    """The source of this name: ``packaged:efficientnet-lite0``, ``timm:resnet18``, ``bundle:runs/leaves``.

    Names with a ``+`` between them are joined, see :mod:`regraft.sources.joined`. ``options`` belong to the
    adapter, as in ``size=96`` for images. Raises ``SourceError`` (unknown, unreadable, offline),
    ``UsageError`` (an option that the adapter does not have) or ``MissingPackageError``.
    """
    if isinstance(name, Source):
        return name
    parts = parts_of(name)
    if len(parts) > 1:
        _check_known(name, _known_options(name), options)
        return replace(complete(_load("joined").find(parts, **options)), options=_plain(options))
    name, adapter, rest = _adapter(name)
    _check_options(name, adapter.find, options)
    return replace(complete(adapter.find(rest, **options)), options=_plain(options))


def find_weights(name: str, **options: Any) -> Source:
    """The source of this name for its tensors alone: a network of the user's own needs no ``builder``.

    Without one that network cannot be built. Raises as :func:`find`.
    """
    if len(parts_of(name)) > 1:
        return find(name, **options)
    whole, adapter, rest = _adapter(name)
    if not takes_option(name, "builder") or options.get("builder") is not None:
        return find(name, **options)
    reader = getattr(adapter, "find_weights", adapter.find)
    _check_options(whole, reader, options)
    source: Source = replace(reader(rest, **options), options=_plain(options))
    if source.builder.name != "user":
        return complete(source)
    weights = open_weights(source)
    return replace(source, parameters=sum(math.prod(weights.shape(name)) for name in weights.names()))


def find_network(name: str, **options: Any) -> Source:
    """The source of this name for its network alone: no weights are fetched where its adapter allows that."""
    if takes_option(name, "pretrained"):
        options = {"pretrained": False, **options}
    return find(name, **options)


def takes_option(name: str, option: str) -> bool:
    """Whether sources of this kind are opened with an option of this name."""
    return option in _known_options(name)


def parts_of(name: str) -> tuple[str, ...]:
    """The sources that a name joins, ``SOURCE+SOURCE``; the name alone where it is one source's."""
    from regraft.sources.joined import split_name

    return split_name(name, tuple(ADAPTERS))


def _known_options(name: str) -> list[str]:
    """The options that sources of this name are opened with; a joined one has those of its parts."""
    parts = parts_of(name)
    if len(parts) > 1:
        found = dict.fromkeys(option for part in parts for option in _known_options(part))
        return [option for option in found if option != "builder"]  # no part's network is handed over
    _, adapter, _ = _adapter(name)
    return _options_of(adapter.find)


def _options_of(function: Callable[..., Source]) -> list[str]:
    return [option for option in inspect.signature(function).parameters if option != "rest"]


def is_source_name(name: str) -> bool:
    """Whether a name is a source's, ``timm:resnet18`` or a path, rather than ``module:function``."""
    prefix, colon, _ = name.partition(":")
    return not colon or prefix in ADAPTERS or Path(name).exists()


def _adapter(name: str) -> tuple[str, Any, str]:
    """The name in full, the module that knows it and what stands behind its prefix."""
    prefix, colon, rest = name.partition(":")
    if not colon or prefix not in ADAPTERS:
        name = _guess(name)
        prefix, _, rest = name.partition(":")
    return name, _load(ADAPTERS[prefix]), rest


def complete(source: Source) -> Source:
    """The source with what only its network tells: the outputs that it gives, its number of parameters."""
    import torch

    with torch.device("meta"):
        trunk = build_trunk(source)
    count = sum(parameter.numel() for parameter in trunk.parameters())
    return replace(source, outputs=trunk.stated_outputs, parameters=count)


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    """The options that a plan may keep: plain values, and never the name of code to run."""
    kept = {name: value for name, value in options.items() if name != "builder"}
    return {name: value for name, value in kept.items() if isinstance(value, str | int | float | bool)}


def build_trunk(source: Source) -> Trunk:
    """The source's network as a Trunk, without its weights.

    Call it under ``torch.device("meta")`` for the skeleton.
    """
    trunk: Trunk
    if source.builder.name == "user":
        trunk = _load("module").build_user(source)
    else:
        trunk = builder_module(source).build(**source.builder.options)
    for layers in source.builder.added:
        trunk.add(layers)
    return trunk.reading(source.preprocessing)


def open_weights(source: Source) -> Checkpoint:
    """The source's tensors, named as in the checkpoint and read one at a time."""
    if source.weights is None:
        raise SourceError(f"{source.name} was never pretrained: it has no weights")
    from regraft.sources.checkpoint import open_checkpoint, open_tensors

    if not source.weights.files:
        return open_tensors(_load("module").read_module(source))
    opener = getattr(builder_module(source), "open_weights", None)
    opened: Checkpoint = opener(source) if opener else open_checkpoint(source.weights.files)
    return opened


def read_weights(source: Source) -> dict[str, Tensor]:
    """All of the source's tensors at once; see :func:`open_weights`."""
    weights = open_weights(source)
    return {name: weights.read(name) for name in weights.names()}


def builder_module(source: Source) -> Any:
    """The module that builds the source's network."""
    return builder_called(source.builder.name, source.name)


def builder_called(name: str, source: str) -> Any:
    """The module of a registered builder; ``source`` is whose network it is to build, for the error."""
    if name not in BUILDERS:
        known = ", ".join(sorted(BUILDERS))
        raise SourceError(f"{source}: there is no builder {name!r}; there are {known}")
    return _load(BUILDERS[name])


def _load(module: str) -> Any:
    return importlib.import_module(_HOME + module)


def _guess(name: str) -> str:
    """A path without a prefix is a bundle or a file; anything else is an error that suggests near names."""
    path = Path(name)
    if path.is_dir():
        return f"bundle:{name}"
    if path.is_file():
        return f"file:{name}"
    raise SourceError(unknown(name))


def unknown(name: str) -> str:
    """The sentence for a name that nobody knows, with the nearest names."""
    from regraft.sources.catalogue import names

    near = difflib.get_close_matches(name, names(), n=3, cutoff=0.4)
    hint = f"Did you mean {' or '.join(near)}? " if near else ""
    if "+" in name:
        hint += "Parts of a joined source each have their prefix: packaged:A+packaged:B. "
    kinds = ", ".join(f"{prefix}:.." for prefix in ADAPTERS)
    return (
        f"there is no source {name!r}. {hint}A name starts with one of {kinds}; `regraft sources` lists them."
    )


def _check_options(name: str, function: Callable[..., Source], options: dict[str, Any]) -> None:
    _check_known(name, _options_of(function), options)


def _check_known(name: str, known: list[str], options: dict[str, Any]) -> None:
    strange = sorted(set(options) - set(known))
    if strange:
        allowed = ", ".join(known) or "none"
        raise UsageError(f"{name} has no option {', '.join(strange)}; its options are: {allowed}")
