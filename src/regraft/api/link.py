"""``rg.link``: what carries over from a source to a target?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from regraft.linking import Blueprint, Link, find_link
from regraft.sources import Source, find
from regraft.targets import Target
from regraft.tasks import make_task


def link(
    source: str | Source,
    target: Target | Blueprint | str | Path,
    *,
    maps: Sequence[str] = (),
    waivers: Sequence[str] = (),
    **options: Any,
) -> Link:
    """Link a source to a target, tensor by tensor.

    Example::

        link = rg.link("packaged:efficientnet-lite0", target).require(0.95)
        print(link.table())

    Parameters
    ----------
    source
        A name such as ``packaged:efficientnet-lite0``, or a Source.
    target
        A Target, or where one can be loaded from (then the model is the source's network with the target's
        heads); or a Blueprint.
    maps
        Renamings ``REGEX=>TO`` of source tensors.
    waivers
        Patterns of rows that need not be covered.
    options
        What the source is opened with, as in ``size=96``.

    Raises
    ------
    LinkError
        Where rows cannot be explained; raised by ``.require`` and ``.load``, with everything listed.
    """
    from regraft.targets import load_target

    opened = find(source, **options)
    if isinstance(target, Blueprint):
        blueprint = target
    else:
        data = target if isinstance(target, Target) else load_target(target)
        blueprint = Blueprint(opened, tuple(make_task(spec) for spec in data.tasks))
    return find_link(opened, blueprint, maps=maps, waivers=waivers)
