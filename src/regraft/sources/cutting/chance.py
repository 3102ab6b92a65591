"""Chance: which blocks of a graph draw random numbers, and by what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn
from torch.fx import Node

from regraft.sources.cutting.flow import Flow, is_random, operation
from regraft.sources.cutting.outline import Part, frames_of, places_of
from regraft.sources.cutting.piece import path_of


def random_blocks(flow: Flow, parts: Sequence[Part], network: nn.Module) -> Mapping[int, str]:
    """By number of block, its first operation that draws random numbers, in words.

    A graph shows what few runs do not: noise that one example in a thousand gets.
    """
    starts = places_of([frames_of(node) for node in flow.main], [part.start for part in parts])
    writing = {node for nodes in flow.writers.values() for node in nodes}
    found: dict[int, str] = {}
    for place, node in enumerate(flow.main):
        if is_random(node) and (node.users or node in writing):
            block = max(n for n, start in enumerate(starts) if start is not None and start <= place)
            found.setdefault(block, _in_words(node, network))
    return found


def _in_words(node: Node, network: nn.Module) -> str:
    """``stem.noise (Noise) draws random numbers (randn_like)``."""
    path = path_of((frames_of(node) or ("",))[-1])
    modules = dict(network.named_modules(remove_duplicate=False))
    kind = type(modules.get(path, network)).__name__
    return f"{path or 'the network'} ({kind}) draws random numbers ({operation(node)})"
