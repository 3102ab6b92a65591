"""Which parameters a plan's patterns mean: ``blocks.{9..11}``, ``head``, ``lora``, ``*``, or their names."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

from torch import nn

from regraft.core.errors import PlanError
from regraft.linking import Grafted
from regraft.sources.trunk import fold_names

HEAD = "head"
_TRUNK = "trunk.network."
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


def expand(pattern: str) -> list[str]:
    """Spell out ranges: ``blocks.{9..11}`` is ``blocks.9``, ``blocks.10``, ``blocks.11``."""
    match = _RANGE.search(pattern)
    if match is None:
        return [pattern]
    first, last = int(match[1]), int(match[2])
    filled = [pattern[: match.start()] + str(n) + pattern[match.end() :] for n in range(first, last + 1)]
    return [spelled for one in filled for spelled in expand(one)]


def block_of(model: Grafted, name: str) -> str:
    """The block that a parameter or buffer of the whole model belongs to; ``head`` for the heads."""
    if name.startswith(_TRUNK):
        return model.trunk.block_of(name.removeprefix(_TRUNK))
    return HEAD


def matches(model: Grafted, name: str, patterns: tuple[str, ...]) -> bool:
    """Whether a parameter is meant by any of the patterns: by its block's name or its own, with or without
    the edits of a stage, or by the edit that added it, in this stage or for good in an earlier one.
    """
    edited = model.edited
    by = edited.added.get(name) or model.trunk.added_by(name.removeprefix(_TRUNK)) or name
    own = {name, edited.plain(name), by}
    names = (block_of(model, name), *own, *(one.removeprefix(_TRUNK) for one in own))
    spelled = [one for pattern in patterns for one in expand(pattern)]
    return any(fnmatchcase(candidate, pattern) for pattern in spelled for candidate in names)


def selected(model: Grafted, patterns: tuple[str, ...], *, purpose: str) -> dict[str, nn.Parameter]:
    """Parameters that the patterns mean, by name; a pattern that means none is a :class:`PlanError`."""
    parameters = dict(model.named_parameters())
    for pattern in patterns:
        if not any(matches(model, name, (pattern,)) for name in parameters):
            edits = dict.fromkeys((*model.edited.added.values(), *(one.kind for one in model.trunk.added)))
            there = ", ".join((*fold_names(model.trunk.block_names), HEAD, *edits))
            raise PlanError(f"{purpose}: no layer is called {pattern!r}; the blocks are {there}")
    return {name: value for name, value in parameters.items() if matches(model, name, patterns)}
