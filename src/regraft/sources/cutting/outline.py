"""Outline: a network's blocks, as a person would name them, and where each of them begins."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn
from torch.fx import Node

from regraft.sources.cutting.flow import Flow
from regraft.sources.cutting.piece import Piece, own, path_of
from regraft.sources.cutting.segment import tensors_read

_ROOT = "L__self__network"
_LISTS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_STACKED = ".layer."


@dataclass(frozen=True)
class Start:
    """Where a block begins: where a module is entered, or where it has been left.

    A module that is called several times is told apart by ``@1``, ``@2`` behind its path.
    """

    frame: str
    left: bool = False


@dataclass(frozen=True)
class Part:
    """A block as it is found.

    Attributes
    ----------
    name
        What a person calls it.
    start
        None for the first one.
    owns
        Prefixes of the names of what belongs to it; see ``Block.owns``.
    """

    name: str
    start: Start | None = None
    owns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outline:
    """A network's blocks.

    Attributes
    ----------
    parts
        In order; a single one where the network cannot be cut.
    how
        ``graph``, ``modules`` or ``whole``: what is cut, and so how what lies between two cuts is run.
    reason
        Why it cannot be cut, or not by its graph; empty where nothing has to be said.
    passing
        Outputs that the chain passes: name (``map``, ``tokens``) to the block after which it is that.
    users
        Path of a module without tensors to the numbers of the blocks that run it, as far as that is known.
    chance
        Number of a block to what draws random numbers in it although it is in ``eval`` mode, in words.
    """

    parts: tuple[Part, ...]
    how: str
    reason: str = ""
    passing: Mapping[str, str] = field(default_factory=dict)
    users: Mapping[str, frozenset[int]] = field(default_factory=dict)
    chance: Mapping[int, str] = field(default_factory=dict)


def frames_of(node: Node) -> tuple[str, ...]:
    """The module calls around an operation, outermost first, without the network itself."""
    keys = (str(key) for key in (node.meta.get("nn_module_stack") or {}))
    return tuple(key[len(_ROOT) + 1 :] for key in keys if key.startswith(_ROOT + "."))


def places_of(frames: Sequence[tuple[str, ...]], starts: Iterable[Start | None]) -> list[int | None]:
    """For each block the place at which it begins in a graph; None where its module never runs there."""
    found: list[int | None] = []
    for start in starts:
        if start is None:
            found.append(0)
            continue
        inside = [place for place, frame in enumerate(frames) if start.frame in frame]
        if start.left:
            found.append(inside[-1] + 1 if inside else None)
        else:
            found.append(inside[0] if inside else None)
    return found


def outline_graph(flow: Flow, network: nn.Module, *, text: bool) -> tuple[Part, ...]:
    """The blocks of a graph; a single one where it has no place to cut that bears a name."""
    frames = [frames_of(node) for node in flow.main]
    memory: dict[Node, frozenset[str]] = {}
    tensors = [tensors_read(flow, place, memory) for place in range(len(flow.main))]
    crossed = [flow.crossing(place) is not None for place in range(len(flow.main))]
    pieces = Splitting(frames, tensors, crossed.__getitem__, network).pieces()
    return _parts(join(pieces, crossed.__getitem__, network, text=text), frames, network)


class Splitting:
    """Splits operations by the modules that they are in, down to the units that repeat."""

    def __init__(
        self,
        frames: Sequence[tuple[str, ...]],
        tensors: Sequence[frozenset[str]],
        crossed: Callable[[int], bool],
        network: nn.Module,
    ):
        self.frames, self.tensors, self.crossed = frames, tensors, crossed
        self.modules: dict[str, nn.Module] = dict(network.named_modules(remove_duplicate=False))
        self._splits: dict[tuple[int, int, int], bool] = {}
        self._usual = self._count(0, len(frames), 0, {})

    def pieces(self) -> list[Piece]:
        """The pieces, in order; not every place between two of them can be cut."""
        return self._split(0, len(self.frames), 0)

    def _split(self, start: int, stop: int, depth: int) -> list[Piece]:
        found: list[Piece] = []
        for frame, first, last in self._runs(start, stop, depth):
            if frame and self._descends(frame, first, last, depth):
                found += self._split(first, last, depth + 1)
            else:
                tensors = frozenset().union(*self.tensors[first:last])
                found.append(Piece(first, last, frame, tensors, frame))
        return found

    def _runs(self, start: int, stop: int, depth: int) -> list[tuple[str, int, int]]:
        runs: list[tuple[str, int, int]] = []
        for place in range(start, stop):
            frame = self.frames[place][depth] if len(self.frames[place]) > depth else ""
            if runs and runs[-1][0] == frame:
                runs[-1] = (frame, runs[-1][1], place + 1)
            else:
                runs.append((frame, place, place + 1))
        return runs

    def _count(
        self, start: int, stop: int, depth: int, found: dict[type, list[bool]]
    ) -> dict[type, list[bool]]:
        """For each class of modules how often one of its modules can be split."""
        for frame, first, last in self._runs(start, stop, depth):
            if frame:
                found.setdefault(self._kind(frame), []).append(self._splittable(first, last, depth + 1))
                self._count(first, last, depth + 1, found)
        return found

    def _kind(self, frame: str) -> type:
        return type(self.modules.get(path_of(frame)))

    def _descends(self, frame: str, start: int, stop: int, depth: int) -> bool:
        """A class is split everywhere or nowhere, as most of its modules can be."""
        if not self._splittable(start, stop, depth + 1):
            return False
        kind = self._kind(frame)
        usual = self._usual[kind]
        return kind is nn.Sequential or sum(usual) * 2 >= len(usual)

    def _splittable(self, start: int, stop: int, depth: int) -> bool:
        key = (start, stop, depth)
        if key not in self._splits:
            runs = [run for run in self._runs(start, stop, depth) if run[0]]
            between = any(
                self.crossed(after[1]) and self._alike(before[0], after[0])
                for before, after in itertools.pairwise(runs)
            )
            self._splits[key] = between or any(
                self._splittable(first, last, depth + 1) for _, first, last in runs
            )
        return self._splits[key]

    def _alike(self, one: str, other: str) -> bool:
        """Whether two modules are entries of one list, or two of a kind that have parts."""
        first, second = path_of(one), path_of(other)
        parent = first.rpartition(".")[0]
        if parent == second.rpartition(".")[0]:
            listed = self.modules.get(parent)
            if isinstance(listed, _LISTS):
                return not is_unit(listed)
            if listed is None and _STACKED in first and _STACKED in second:
                return True  # the layers of one recurrent module
        kind = self._kind(one)
        return kind is self._kind(other) and bool(list(self.modules[first].children()))


def is_unit(module: nn.Module) -> bool:
    """Whether a list is one step, as a convolution with its norm and its activation."""
    children = list(module.children())
    if any(True for child in children for _ in child.children()):
        return False
    return sum(any(p.ndim > 1 for p in child.parameters()) for child in children) <= 1


def join(
    pieces: list[Piece], crossed: Callable[[int], bool], network: nn.Module, *, text: bool
) -> list[Piece]:
    """Fewer pieces: cut where one value crosses, each with parameters, but for the pooling at the end."""
    modules = dict(network.named_modules(remove_duplicate=False))
    tensors = network.named_parameters(remove_duplicate=False)
    shapes = {name: tensor.ndim for name, tensor in tensors}

    def leaf(piece: Piece) -> bool:
        module = modules.get(path_of(piece.frame))
        return bool(piece.frame) and module is not None and not list(module.children())

    def heavy(piece: Piece) -> bool:
        return any(shapes.get(name, 0) > 1 for name in piece.tensors)

    joined = [pieces[0]]
    for piece in pieces[1:]:
        before = joined[-1]
        unnamed = bool(piece.tensors) and not piece.frame
        if not crossed(piece.start) or unnamed or not (piece.tensors or before.tensors):
            joined[-1] = _merge(before, piece)
        elif piece.tensors and not before.tensors and len(joined) == 1:
            joined[-1] = replace(_merge(before, piece), frame=piece.frame, first=piece.first)
        elif leaf(piece) and leaf(before) and piece.tensors and not heavy(piece):
            joined[-1] = _merge(before, piece)
        else:
            joined.append(piece)
    final = joined.pop() if len(joined) > 1 and not joined[-1].tensors else None
    kept = [joined[0]]
    for piece in joined[1:]:
        if piece.tensors:
            kept.append(piece)
        else:
            kept[-1] = _merge(kept[-1], piece)
    kept = _join_stem(kept, leaf, modules, "embeddings" if text else "stem")
    if final is not None:
        final.frame, final.first = "pool", ""
        kept.append(final)
    return kept


def _join_stem(
    pieces: list[Piece], leaf: Callable[[Piece], bool], modules: Mapping[str, Any], name: str
) -> list[Piece]:
    """The single layers before the first module that has parts are one block."""

    def single(piece: Piece) -> bool:
        """A layer by itself, and not one of a list of such layers."""
        parent = modules.get(path_of(piece.frame).rpartition(".")[0])
        alone = not isinstance(parent, _LISTS) or any(
            any(True for _ in c.children()) for c in parent.children()
        )
        return leaf(piece) and alone

    count = next((number for number, piece in enumerate(pieces) if not single(piece)), len(pieces))
    if count == len(pieces):
        return pieces
    first = pieces[0]
    for piece in pieces[1:count]:
        first = _merge(first, piece)
    if count > 1 or not first.frame or (count == 1 and name == "embeddings"):
        first = replace(first, frame=name)
    return [first, *pieces[max(count, 1) :]]


def _merge(one: Piece, other: Piece) -> Piece:
    return replace(
        one, stop=other.stop, tensors=one.tensors | other.tensors, merged=one.merged + other.merged
    )


def _parts(
    pieces: Sequence[Piece], frames: Sequence[tuple[str, ...]], network: nn.Module
) -> tuple[Part, ...]:
    starts: list[Start | None] = [None]
    for piece in pieces[1:]:
        if piece.first:
            starts.append(Start(piece.first))
        else:
            inside = frames[piece.start - 1]
            starts.append(Start(inside[_depth_left(frames, piece.start)], left=True) if inside else None)
    # A place that no module's name leads to in another graph is none.
    found = places_of(frames, starts)
    named = [
        number
        for number, piece in enumerate(pieces)
        if number == 0 or (starts[number] is not None and found[number] == piece.start)
    ]
    merged: list[Piece] = []
    for number, piece in enumerate(pieces):
        if number in named:
            merged.append(piece)
        else:
            merged[-1] = _merge(merged[-1], piece)
    names = _unique([_name(piece, frames) for piece in merged])
    owned = own(merged, frames, network)
    return tuple(
        Part(name, starts[number], owns) for name, number, owns in zip(names, named, owned, strict=True)
    )


def _depth_left(frames: Sequence[tuple[str, ...]], place: int) -> int:
    """Depth of the outermost module call that ends before a place."""
    before, behind = frames[place - 1], frames[place] if place < len(frames) else ()
    shared = 0
    while shared < min(len(before) - 1, len(behind)) and before[shared] == behind[shared]:
        shared += 1
    return shared


def _name(piece: Piece, frames: Sequence[tuple[str, ...]]) -> str:
    """The module that a piece is; where it is several, the one that holds just these."""
    if piece.merged > 1 and piece.first and piece.frame == piece.first:
        for frame in frames[piece.start]:
            inside = [place for place, calls in enumerate(frames) if frame in calls]
            if inside[0] == piece.start and inside[-1] < piece.stop:
                return frame
    return piece.frame or "network"


def _unique(names: Sequence[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        number = 2
        candidate = name
        while candidate in found:
            candidate, number = f"{name}.{number}", number + 1
        found.append(candidate)
    return found
