"""Piece: a run of operations that may become a block, and what belongs to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn


@dataclass
class Piece:
    """A run of operations; ``frame`` is the module call that it is, empty for what no inner module does."""

    start: int
    stop: int
    frame: str
    tensors: frozenset[str]
    first: str = ""
    merged: int = 1


def path_of(frame: str) -> str:
    """The module's path, without the number of its call."""
    return frame.partition("@")[0]


def own(
    pieces: Sequence[Piece], frames: Sequence[tuple[str, ...]], network: nn.Module
) -> list[tuple[str, ...]]:
    """For each piece the shortest prefixes that name its tensors and its modules, and no other piece's.

    A tensor that several pieces read belongs to the first; one that none reads to the piece around it. A
    module without tensors belongs to the last piece that runs it, whose modes it follows.
    """
    owners: dict[str, int] = {}
    for number, piece in reversed(list(enumerate(pieces))):
        owners.update(dict.fromkeys(piece.tensors, number))
    runs: dict[str, int] = {}
    for number, piece in enumerate(pieces):
        for calls in frames[piece.start : piece.stop]:
            runs.update({path_of(frame): number for frame in calls})
    tensors = network.named_parameters(remove_duplicate=False)
    buffers = network.named_buffers(remove_duplicate=False)
    for name, _ in [*tensors, *buffers]:
        if name not in owners:
            owners[name] = _around(name, owners, runs, network)
    return _prefixes(len(pieces), owners, runs, network)


def _around(name: str, owners: Mapping[str, int], runs: Mapping[str, int], network: nn.Module) -> int:
    """The piece that owns what is nearest to a tensor which no operation reads under this name."""
    tensors = dict(network.named_parameters(remove_duplicate=False))
    twin = next((other for other in owners if other in tensors and tensors[other] is tensors.get(name)), None)
    if twin is not None:
        return owners[twin]
    path = name
    while path:
        path = path.rpartition(".")[0]
        near = [number for other, number in owners.items() if not path or other.startswith(path + ".")]
        if near:
            return min(near)
        if path in runs:
            return runs[path]
    return 0


def _prefixes(
    count: int, owners: Mapping[str, int], runs: Mapping[str, int], network: nn.Module
) -> list[tuple[str, ...]]:
    found: list[list[str]] = [[] for _ in range(count)]

    def visit(path: str, module: nn.Module) -> None:
        inside = {number for name, number in owners.items() if not path or name.startswith(path + ".")}
        if len(inside) == 1 and path:
            found[inside.pop()].append(path)
            return
        if not inside and path:
            if path in runs:
                found[runs[path]].append(path)
            return
        for name, _ in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            whole = f"{path}.{name}" if path else name
            found[owners[whole]].append(whole)
        if isinstance(module, nn.RNNBase) and path:
            found[runs.get(path, max(inside))].append(path)
        for name, child in module._modules.items():  # one that has two names is visited under both
            if child is not None:
                visit(f"{path}.{name}" if path else name, child)

    visit("", network)
    return [tuple(names) for names in found]
