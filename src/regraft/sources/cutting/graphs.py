"""Graphs of a network as it is now: one for each state (modes, edits) and each family of shapes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from regraft.core.errors import PlanError
from regraft.core.inputs import Batch
from regraft.sources.cutting.description import Glance, describe_state, unregistered
from regraft.sources.cutting.exporting import (
    Exported,
    Shapes,
    Whole,
    device_of,
    export_network,
    expression_of,
)
from regraft.sources.cutting.flow import Flow
from regraft.sources.cutting.outline import Outline, frames_of, places_of
from regraft.sources.cutting.recurrent import unstack
from regraft.sources.cutting.segment import Segment, cut_segment

_KEPT = 24


@dataclass(eq=False)
class Graph:
    """A graph, the places of an outline's blocks in it, and the segments that were cut out of it so far.

    ``constants`` are tensors that the network holds and did not register: they are told apart by where they
    are in memory, and so have to stay there.
    """

    flow: Flow
    places: tuple[int | None, ...]
    loose: Hashable = field(repr=False)
    constants: list[Any] = field(repr=False)
    segments: dict[tuple[int, int], Segment] = field(default_factory=dict)
    checked: bool = False

    @property
    def exported(self) -> Exported:
        """What was exported."""
        return self.flow.exported

    def cuts(self, block: int) -> bool:
        """Whether one activation alone is alive in front of a block, in this graph."""
        place = self.places[block]
        return place is not None and self.flow.crossing(place) is not None

    def segment(self, start: int, stop: int, names: Sequence[str]) -> Segment:
        """The blocks from number ``start`` up to ``stop``, called ``names``."""
        if (start, stop) not in self.segments:
            first, last = self._place(start, names), self._place(stop, names)
            self.segments[start, stop] = cut_segment(self.flow, first, last)
        return self.segments[start, stop]

    def _place(self, block: int, names: Sequence[str]) -> int:
        if block == 0:
            return 0
        if block >= len(self.places):
            return len(self.flow.main)
        place = self.places[block]
        if place is None or not self.cuts(block):
            raise PlanError(
                f"the network cannot be cut in front of {names[block]!r} in the modes and the form that it "
                "has now: one activation is not all that is alive there. Move frozen_prefix"
            )
        return place

    def takes(self, shapes: Mapping[str, tuple[int, ...]]) -> bool:
        """Whether the graph holds for inputs of these shapes."""
        pairs = [
            (expected, actual)
            for name, shape in self.exported.shapes.items()
            for expected, actual in zip(shape, shapes.get(name, ()), strict=False)
        ]
        same = all(len(shape) == len(shapes.get(name, ())) for name, shape in self.exported.shapes.items())
        return same and self._holds(pairs)

    def follows(self, start: int, activation: Tensor) -> bool:
        """Whether the activation can be the one that crosses the beginning of a block."""
        place = self.places[start]
        value = self.flow.crossing(place) if place is not None else None
        if value is None or value.meta["val"].ndim != activation.ndim:
            return False
        lengths = [expression_of(length) for length in value.meta["val"].shape]
        return self._holds(list(zip(lengths, activation.shape, strict=True)))

    def _holds(self, pairs: list[tuple[Any, Any]]) -> bool:
        """Whether the symbols can have these values."""
        key = tuple((str(expected), int(actual)) for expected, actual in pairs)
        if key not in self.exported.known:
            self.exported.known[key] = _solve(self.exported, pairs)
        return self.exported.known[key]


def _solve(exported: Exported, pairs: list[tuple[Any, Any]]) -> bool:
    values: dict[Any, int] = {}
    for expected, actual in pairs:
        if getattr(expected, "is_symbol", False) and values.setdefault(expected, int(actual)) != int(actual):
            return False
    shapes = list(exported.shapes.values())
    alike = [{shape[0] for shape in shapes}]
    if all(len(shape) == 2 for shape in shapes):
        alike.append({shape[1] for shape in shapes})
    for family in alike:
        known = [values[symbol] for symbol in family if symbol in values]
        values.update(
            {symbol: known[0] for symbol in family if known and getattr(symbol, "is_symbol", False)}
        )

    def settled(expression: Any) -> Any:
        return expression.subs(values) if hasattr(expression, "subs") else expression

    if any(settled(expected) != int(actual) for expected, actual in pairs):
        return False
    ranges = exported.program.range_constraints
    for symbol, value in values.items():
        if symbol in ranges and not ranges[symbol].lower <= value <= ranges[symbol].upper:
            return False
    return not any(bool(found == False) for found in map(settled, exported.guards))  # noqa: E712 - sympy's false


@dataclass(frozen=True, eq=False)
class Call:
    """A run of blocks, for which a graph is wanted.

    Attributes
    ----------
    network, whole, outline
        What is cut, what runs it in one piece, and its blocks.
    start
        The number of the first block that runs.
    activation
        What comes into that block; None where the run begins with the inputs.
    inputs
        The network's own; decoded only where they are read.
    example
        Gives the usual shapes and types of the inputs, without reading any.
    """

    network: nn.Module
    whole: Whole
    outline: Outline
    start: int
    activation: Tensor | None
    inputs: Batch
    example: Callable[[], Shapes]

    def fits(self, graph: Graph) -> bool:
        """Whether a graph of the network holds for the shapes of this call."""
        if self.activation is not None:
            return graph.follows(self.start, self.activation)
        return graph.takes({name: tuple(tensor.shape) for name, tensor in self.inputs.items()})

    def make(self) -> Graph:
        """A graph of the network as it is now. Raises :class:`ExportError`."""
        # Reading a batch of pixels means decoding images, which a cached activation is there to avoid.
        usual = self.example() if self.activation is not None else {}
        if self.activation is not None and _are_pixels(usual):
            count = self.activation.shape[0]
            shapes = {name: ((count, *shape[1:]), dtype) for name, (shape, dtype) in usual.items()}
            made = make_graph(self.network, self.whole, self.outline, shapes)
            if made.follows(self.start, self.activation):
                return made
        shapes = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in self.inputs.items()}
        return make_graph(self.network, self.whole, self.outline, shapes)


class Shelf:
    """The graphs of this process. A graph holds no weights, so that all copies of a network share them."""

    def __init__(self) -> None:
        self._graphs: OrderedDict[Hashable, list[Graph]] = OrderedDict()
        self._glances: WeakKeyDictionary[nn.Module, tuple[Glance, int]] = WeakKeyDictionary()
        self._numbers: dict[Hashable, int] = {}  # hashing a description takes as long as making it
        self._lock = threading.RLock()

    def find(self, call: Call) -> Graph:
        """The graph for the call's network as it is and for its shapes; made if need be."""
        with self._lock:
            graphs = self._of(call.network, call.outline)
            found = next((graph for graph in graphs if call.fits(graph)), None)
            if found is not None:
                return found
            if torch.compiler.is_exporting():
                raise RuntimeError("a network is cut before it is exported: run its prefix once before")
            graphs.append(call.make())
            return graphs[-1]

    def _of(self, network: nn.Module, outline: Outline) -> list[Graph]:
        place = (outline.parts, str(device_of(network)))
        if torch.compiler.is_exporting():
            # Tensors that no one registered are others while a network is being exported itself.
            loose = (*place, describe_state(network, own=False))
            return [graph for graphs in self._graphs.values() for graph in graphs if graph.loose == loose]
        glance = Glance(network)
        known = self._glances.get(network)
        if known is None or known[0] != glance:
            state = describe_state(network, own=True)
            known = (glance, self._numbers.setdefault(state, len(self._numbers)))
            self._glances[network] = known
        key = (*place, known[1])
        if key not in self._graphs:
            self._graphs[key] = []
            while len(self._graphs) > _KEPT:
                self._graphs.popitem(last=False)
        self._graphs.move_to_end(key)
        return self._graphs[key]


def _are_pixels(example: Shapes) -> bool:
    return bool(example) and all(dtype.is_floating_point for _, dtype in example.values())


def make_graph(network: nn.Module, whole: Whole, outline: Outline, shapes: Shapes) -> Graph:
    """Export a network as it is now. Raises :class:`ExportError`."""
    flow = flow_of(network, whole, shapes)
    frames = [frames_of(node) for node in flow.main]
    places = places_of(frames, [part.start for part in outline.parts])
    loose = (outline.parts, str(device_of(network)), describe_state(network, own=False))
    return Graph(flow, tuple(places), loose, unregistered(network))


def flow_of(network: nn.Module, whole: Whole, shapes: Shapes, *, evaluate: bool = False) -> Flow:
    """The flow of a network's graph, recurrent stacks in layers; ``evaluate`` in ``eval`` mode throughout."""
    exported = export_network(network, whole, shapes, evaluate=evaluate)
    unstack(exported.program.graph)
    return Flow(exported)
