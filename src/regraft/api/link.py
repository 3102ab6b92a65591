"""``rg.link``: what carries over from a source to a target?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regraft.api.opening import open_pair
from regraft.api.sides import Side, is_data, open_blueprint, open_origin
from regraft.core.errors import UsageError
from regraft.core.preprocessing import Preprocessing
from regraft.linking import Blueprint, Link, find_link
from regraft.linking.network import Given
from regraft.linking.origin import Origin
from regraft.linking.proving.prepared import compare_preprocessing
from regraft.sources import Source
from regraft.targets import Target, load_target
from regraft.tasks import make_task

if TYPE_CHECKING:
    from torch import nn


def link(
    source: str | Path | Source | nn.Module,
    target: Target | Blueprint | nn.Module | Callable[[], nn.Module] | str | Path,
    *,
    maps: Sequence[str] = (),
    waivers: Sequence[str] = (),
    inputs: Given | None = None,
    classes: Sequence[str] = (),
    saved: str | Path | None = None,
    network: Any = None,
    **options: Any,
) -> Link:
    """Link a source to a target, tensor by tensor.

    Example::

        link = rg.link("facebook.safetensors", "timm:vit_small_patch16_224").require(0.95)
        print(link.table())
        print(link.verify().sentence)
        model = link.load()

    Parameters
    ----------
    source
        A name such as ``packaged:efficientnet-lite0``, a Source, a module in memory, the path of a checkpoint
        (of any format; alone, or with ``builder=`` for its network), or ``module:function``.
    target
        The model that the weights go to: a module, a function that builds one, ``module:function``, a
        library's network by name (``timm:resnet18``), or a Blueprint. Or a Target, or where one can be loaded
        from: then it is the source's network with the target's heads.
    maps
        Renamings ``REGEX=>TO`` of source tensors.
    waivers
        Patterns of rows that need not be covered.
    inputs
        What both networks can read: a tensor, a tuple of arguments, or a mapping of named ones; guessed from
        the first layer if not given.
    classes
        What the rows of the target's last layer stand for, so that a head carries over by class name.
    saved
        A link that was saved before: it is applied, and nothing is searched.
    network
        For a target of data: the model's network where it is not the source's, as for ``rg.transfer``.
    options
        What the source is opened with, as in ``builder="mymodels:build"``; ``size`` is the input size in
        pixels of the model's network.

    Raises
    ------
    UsageError, SourceError
        Where source or target cannot be found; the message says what was tried.
    LinkError
        Where rows cannot be explained: raised by ``.require`` and ``.load``, with everything listed; and
        where ``saved`` is a link between others.
    """
    origin, blueprint, reads = _sides(source, target, inputs, classes, network, options)
    if saved is not None:
        return _apply(saved, origin, blueprint, maps, waivers)
    found = find_link(origin, blueprint, maps=maps, waivers=waivers)
    if origin.source is None or reads is None:
        return found
    notes = [f"preprocessing: {one}" for one in compare_preprocessing(origin.source.preprocessing, reads)]
    return replace(found, notes=(*found.notes, *notes)) if notes else found


def _sides(
    source: Any,
    target: Any,
    inputs: Given | None,
    classes: Sequence[str],
    network: Any,
    options: dict[str, Any],
) -> tuple[Origin, Side, Preprocessing | None]:
    if network is not None:
        opened = open_pair(source, network, options)
        data = load_target(target)
        blueprint = Blueprint(opened.network, tuple(make_task(spec) for spec in data.tasks))
        return Origin(opened.weights.name, opened.weights), blueprint, opened.network.preprocessing
    # The size is that of the model's network: the source's own only where data are the target.
    named = isinstance(target, str) and not Path(target).expanduser().exists()
    size = options.pop("size", None) if named else None
    of_data = isinstance(target, Target | Blueprint) or (
        isinstance(target, str | Path) and is_data(str(target))
    )
    origin = open_origin(source, inputs, options, whole=not of_data)
    side, reads = open_blueprint(target, origin, inputs, classes=classes, size=size)
    return origin, side, reads


def _apply(
    saved: str | Path, origin: Origin, blueprint: Side, maps: Sequence[str], waivers: Sequence[str]
) -> Link:
    from regraft.linking.saving import load_link_file

    if maps:
        raise UsageError(
            "a saved link is applied without searching: leave maps= (--map) out, or search anew without "
            "saved= (--saved)"
        )
    found = load_link_file(saved, origin, blueprint)
    for pattern in waivers:
        found = found.waive(pattern)
    return found
