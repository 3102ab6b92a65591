"""Segment: the operations of a graph between two places, as code that runs on a network's own tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule, Node, Proxy
from torch.fx.proxy import GraphAppendingTracer
from torch.utils._sympy.interp import sympy_interp
from torch.utils._sympy.reference import PythonReferenceAnalysis

from regraft.core.inputs import Batch
from regraft.sources.cutting.exporting import expression_of
from regraft.sources.cutting.flow import FACTORIES, Flow, argument, inputs_of, is_symbolic, operation


@dataclass(frozen=True, eq=False)
class Segment:
    """Code that holds no parameter: it looks up the network's own, by name, each time that it is run."""

    code: GraphModule = field(repr=False)
    inputs: tuple[str, ...]
    tensors: tuple[tuple[str, str], ...]
    constants: tuple[Tensor, ...]

    def run(self, network: nn.Module, activation: Tensor | None, inputs: Batch) -> Tensor:
        """The value at the segment's end."""
        first = () if activation is None else (activation,)
        own = [getattr(network.get_submodule(path), leaf) for path, leaf in self.tensors]
        read = [inputs[name] for name in self.inputs]
        result: Tensor = self.code.forward(*first, *read, *own, *self.constants)
        return result


def cut_segment(flow: Flow, start: int, stop: int) -> Segment:
    """The operations from place ``start`` up to place ``stop``; 0 is the beginning.

    Both are places that one value crosses, or the ends.
    """
    return _Builder(flow, start, stop).build()


class _Builder:
    """Copies operations, and what can be computed again, into a graph of their own."""

    def __init__(self, flow: Flow, start: int, stop: int):
        self.flow, self.exported = flow, flow.exported
        self.entering = flow.crossing(start) if start > 0 else None
        leaving = flow.output if stop >= len(flow.main) else flow.crossing(stop)
        assert leaving is not None
        assert start == 0 or self.entering is not None
        self.leaving = leaving
        self.wanted = self._gather(flow.main[start:stop])
        self.graph = Graph()
        self.made: dict[Node, Any] = {}
        self.sizes: dict[Any, Node] = {}
        self.numbers: dict[Any, Any] = {}
        self.parts: dict[str, Any] = {}

    def build(self) -> Segment:
        """The segment."""
        if self.entering is not None:
            self.made[self.entering] = self.graph.placeholder("activation")
        symbols = self._symbols()
        places = [node for node in self.wanted if node.op == "placeholder"]
        read = [node for node in places if node.name in self.exported.inputs]
        read += self._sizes_from(symbols, read)
        own = [node for node in places if node.name in self.exported.tensors]
        constants = [node for node in places if node.name in self.exported.constants]
        for node in [*read, *own, *constants]:
            self.made[node] = self.graph.placeholder(node.name)
        self._take_sizes(symbols)
        for node in self.wanted:
            if node.op != "placeholder":
                self._copy(node)
        self.graph.output(self.made[self.leaving])
        names = [self.exported.tensors[node.name].rpartition(".") for node in own]
        return Segment(
            GraphModule(self.parts, self.graph),
            tuple(self.exported.inputs[node.name] for node in read),
            tuple((path, leaf) for path, _, leaf in names),
            tuple(self.exported.constants[node.name] for node in constants),
        )

    def _gather(self, main: Iterable[Node]) -> list[Node]:
        """The operations, what they read and can be computed again, and what writes to that, in order."""
        wanted: set[Node] = set()
        waiting = list(main)
        while waiting:
            node = waiting.pop()
            if node in wanted or node is self.entering or is_symbolic(node):
                continue
            wanted.add(node)
            waiting += list(node.all_input_nodes) if self._keeps_source(node) else inputs_of(node)
            if not self.flow.is_main(node) and node.op != "placeholder":
                waiting += self.flow.writers.get(self.flow.groups.of(node), ())
        return sorted(wanted, key=self.flow.order.__getitem__)

    def _keeps_source(self, node: Node) -> bool:
        """Whether a tensor made like another one is still made of that one: where that is at hand."""
        return self.flow.is_main(node) or not any(self.flow.is_main(one) for one in node.all_input_nodes)

    def _copy(self, node: Node) -> None:
        if node.op == "get_attr":
            owner: Any = node.graph.owning_module
            self.parts[str(node.target)] = getattr(owner, str(node.target))
            self.made[node] = self.graph.get_attr(str(node.target))
        elif operation(node) in FACTORIES and not self._keeps_source(node):
            self.made[node] = self._anew(node)
        else:
            self.made[node] = self.graph.node_copy(node, self._given)

    def _anew(self, node: Node) -> Node:
        """A tensor made like another one, without that one."""
        value = node.meta["val"]
        size = [self._number(length) for length in value.shape]
        fill = [self._value(argument(node, "fill_value"))] if "full" in operation(node) else []
        return self.graph.call_function(
            FACTORIES[operation(node)], (size, *fill), {"dtype": value.dtype, "device": value.device}
        )

    def _given(self, node: Node) -> Any:
        return self._number(node.meta["val"]) if is_symbolic(node) else self.made[node]

    def _value(self, given: Any) -> Any:
        return self._given(given) if isinstance(given, Node) else given

    def _number(self, value: Any) -> Any:
        """A size as a number, or as a node that computes it from the sizes at hand."""
        if not isinstance(value, torch.SymInt | torch.SymFloat | torch.SymBool):
            return value
        expression = value.node.expr
        if expression not in self.numbers:
            tracer = GraphAppendingTracer(self.graph)
            sizes = {symbol: Proxy(node, tracer) for symbol, node in self.sizes.items()}
            made = sympy_interp(PythonReferenceAnalysis, sizes, expression)
            self.numbers[expression] = made.node if isinstance(made, Proxy) else made
        return self.numbers[expression]

    def _symbols(self) -> list[Any]:
        """The symbols of which the sizes in this segment are made."""
        found: dict[Any, None] = {}
        for node in self.wanted:
            values = [one.meta["val"] for one in node.all_input_nodes if is_symbolic(one)]
            if operation(node) in FACTORIES and not self._keeps_source(node):
                values += list(node.meta["val"].shape)
            for value in values:
                expression = getattr(getattr(value, "node", None), "expr", None)
                found.update(dict.fromkeys(getattr(expression, "free_symbols", ())))
        return sorted(found, key=str)

    def _source(self, symbol: Any) -> tuple[Node, int]:
        """The tensor at hand, and its dimension, that has this size: if it can be, the activation."""
        family = self._family(symbol)
        places = [node for node in self.flow.nodes if node.name in self.exported.inputs]
        at_hand = [node for node in places if node in self.wanted]
        first = [self.entering] if self.entering is not None else []
        for node in [*first, *at_hand, *places]:
            for dimension, length in enumerate(node.meta["val"].shape):
                if expression_of(length) in family:
                    return node, dimension
        raise KeyError(f"no input has the size {symbol}")

    def _family(self, symbol: Any) -> set[Any]:
        """Symbols that stand for one size: all inputs have one number of pieces, all token ids one length."""
        for dimension in (0, 1):
            alike = {shape[dimension] for shape in self.exported.shapes.values() if len(shape) > dimension}
            if symbol in alike and (
                dimension == 0 or all(len(s) == 2 for s in self.exported.shapes.values())
            ):
                return alike
        return {symbol}

    def _sizes_from(self, symbols: list[Any], read: list[Node]) -> list[Node]:
        """Inputs of which nothing but a size is needed."""
        found = dict.fromkeys(self._source(symbol)[0] for symbol in symbols)
        return [node for node in found if node is not self.entering and node not in read]

    def _take_sizes(self, symbols: list[Any]) -> None:
        for symbol in symbols:
            node, dimension = self._source(symbol)
            self.sizes[symbol] = self.graph.call_function(
                torch.ops.aten.sym_size.int, (self.made[node], dimension)
            )


def tensors_read(flow: Flow, place: int, memory: dict[Node, frozenset[str]]) -> frozenset[str]:
    """Names of the network's tensors that one main operation reads, directly or through what is computed
    again.
    """
    own: Mapping[str, str] = flow.exported.tensors

    def of(node: Node) -> frozenset[str]:
        if node.op == "placeholder":
            return frozenset([own[node.name]]) if node.name in own else frozenset()
        if node not in memory:
            read = [one for one in inputs_of(node) if not (flow.is_main(one) and one.op != "placeholder")]
            memory[node] = frozenset().union(*(of(one) for one in read))
        return memory[node]

    return of(flow.main[place])
