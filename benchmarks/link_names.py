"""Other names and another order for the parts of a network that goes on working."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from torch import nn

_CONTAINERS = (nn.ModuleList, nn.Sequential, nn.ModuleDict)


def rename(module: nn.Module, say: Callable[[str], str]) -> None:
    """Give children and tensors other names; the code goes on finding them under their own."""
    for child in module.children():
        rename(child, say)
    aliases = {}
    for table in (module._modules, module._parameters, module._buffers):
        renamed = {old: old if old.isdigit() else say(old) for old in table}
        kept = {renamed[old]: value for old, value in table.items()}
        table.clear()
        table.update(kept)
        aliases.update({old: new for old, new in renamed.items() if old != new})
    if aliases:
        _answer(module, aliases)


def _answer(module: nn.Module, aliases: dict[str, str]) -> None:
    kind = type(module)

    def look(self: nn.Module, name: str) -> Any:
        return kind.__getattr__(self, aliases.get(name, name))

    module.__class__ = type(kind.__name__, (kind,), {"__getattr__": look})
    module._non_persistent_buffers_set = {
        aliases.get(name, name) for name in module._non_persistent_buffers_set
    }


_LEAVES = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def random_words(module: nn.Module, chance: random.Random, *, leaves: bool = False) -> None:
    """The same word for the same word everywhere."""
    words: dict[str, str] = {}

    def say(old: str) -> str:
        if _is_leaf(old) and not leaves:
            return old
        if old not in words:
            words[old] = "".join(chance.choices("bcdfghjklmnpqrstvwxyz", k=5))
        return words[old]

    rename(module, say)


def _is_leaf(name: str) -> bool:
    return name in _LEAVES or name.startswith(("weight_", "bias_"))


def random_leaves(module: nn.Module, chance: random.Random) -> None:
    random_words(module, chance, leaves=True)


def unique_words(module: nn.Module, chance: random.Random) -> None:
    """Another word for every module: nothing repeats."""
    numbers = iter(chance.sample(range(10_000), 5_000))
    rename(module, lambda old: old if _is_leaf(old) else f"m{next(numbers)}")


def other_library(module: nn.Module, chance: random.Random) -> None:
    """The words of another library."""
    words = {"running_mean": "moving_mean", "running_var": "moving_variance", "conv": "convolution"}
    words |= {"norm": "layer_norm", "head": "predictions", "blocks": "stages", "stem": "conv_stem"}
    rename(module, lambda old: words.get(old, old))


def shuffled(module: nn.Module, chance: random.Random) -> None:
    """Definition order drawn anew, except in lists, whose order is what they do."""
    for part in module.modules():
        tables = [part._parameters] if isinstance(part, _CONTAINERS) else [part._modules, part._parameters]
        for table in tables:
            names = list(table)
            chance.shuffle(names)
            values = dict(table)
            table.clear()
            table.update({name: values[name] for name in names})


def shuffled_and_renamed(module: nn.Module, chance: random.Random) -> None:
    shuffled(module, chance)
    random_words(module, chance)
