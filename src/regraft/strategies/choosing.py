"""Choosing parameters by what they are, and writing the choice down as patterns."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from regraft.strategies.strategy import Situation

if TYPE_CHECKING:
    from torch import nn

Choice = Callable[["nn.Module", str], bool]
"""Whether the parameter of this name, as its own module calls it, is meant."""

_PREFIX = "trunk.network."


def chosen_parameters(situation: Situation, meant: Choice) -> tuple[str, ...]:
    """Names of the trunk's parameters that are meant, as the network calls them, stem to head."""
    network = situation.trunk.network
    found = []
    for name, _ in network.named_parameters():
        place, _, leaf = name.rpartition(".")
        if meant(network.get_submodule(place), leaf):
            found.append(name)
    return tuple(found)


def blocks_with(situation: Situation, names: Sequence[str]) -> tuple[str, ...]:
    """The blocks that hold any of these parameters, stem to head."""
    holding = {situation.trunk.block_of(name) for name in names}
    return tuple(block for block in situation.all_blocks if block in holding)


def patterns_of(situation: Situation, names: Sequence[str]) -> tuple[str, ...]:
    """Patterns that mean exactly these of the trunk's parameters.

    Numbers become ``*`` where that means no other parameter: ``layer.*.output.LayerNorm.weight``. What cannot
    be said so is named in full.
    """
    trunk = situation.trunk
    others = [name for name, _ in trunk.network.named_parameters() if name not in set(names)]
    # What a pattern is held against: a parameter's name here, in the whole model, and its block's.
    strange = {form for name in others for form in (name, _PREFIX + name, trunk.block_of(name))}
    patterns: dict[str, None] = {}
    for name in names:
        general = re.sub(r"\d+", "*", name)
        exact = any(fnmatchcase(form, general) for form in strange)
        patterns[_PREFIX + name if exact else general] = None
    return tuple(patterns)
