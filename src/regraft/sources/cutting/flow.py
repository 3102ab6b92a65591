"""Flow: which of a graph's values come from the data, and where exactly one of them is alive."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from regraft.sources.cutting.exporting import Exported, expression_of

_MASK = "attention_mask"
FACTORIES = {
    "new_zeros": torch.ops.aten.zeros.default,
    "zeros_like": torch.ops.aten.zeros.default,
    "new_ones": torch.ops.aten.ones.default,
    "ones_like": torch.ops.aten.ones.default,
    "new_full": torch.ops.aten.full.default,
    "full_like": torch.ops.aten.full.default,
    "new_empty": torch.ops.aten.empty.memory_format,
    "empty_like": torch.ops.aten.empty.memory_format,
}
"""Operations that read the shape of a tensor and not its values, and what does the same without it."""
_SILENT_WRITERS = {"batch_norm": (3, 4, 5), "instance_norm": (3, 4, 5), "native_batch_norm": (3, 4, 5)}
"""Operations that write to these arguments where the last one is true, and whose schema does not say so."""
_CHECKS = ("_assert", "sym_constrain", "_check")


class Flow:
    """What a graph computes from the data, operation by operation.

    ``main`` are the operations that depend on the data's values (pixels, embeddings of token ids), draw
    random numbers or write to something that stays. All others (masks, position tables, sizes, functions of
    parameters alone) can be computed again wherever they are needed.

    A *place* is a position in ``main``: the one before ``main[place]``. What is alive there is all that the
    operations from there on need beside what can be computed again.
    """

    def __init__(self, exported: Exported):
        self.exported = exported
        graph = exported.program.graph
        self.nodes: list[Node] = list(graph.nodes)
        self.order = {node: number for number, node in enumerate(self.nodes)}
        given: Any = self.nodes[-1].args[0]
        self.output: Node = given[0]
        self.groups = _Groups(self.nodes)
        self.writers = _writers(self.nodes, self.groups)
        self._tainted = self._taint()
        self.main: list[Node] = self._living()
        self.place = {node: number for number, node in enumerate(self.main)}
        self._last = self._last_uses()

    @property
    def batch(self) -> Any:
        """The number of pieces: a symbol, or a number in a graph for one batch size."""
        return next(iter(self.exported.shapes.values()))[0]

    def is_main(self, node: Node) -> bool:
        """Whether a node's value depends on the data, on chance or on what is written."""
        return node in self._tainted

    def alive(self, place: int) -> list[Node]:
        """The values from before a place that are needed behind it."""
        found = [node for node in self.main[:place] if self._last.get(node, -1) >= place]
        data = [node for node in self._data() if self._last.get(node, -1) >= place]
        return [*data, *found]

    def crossing(self, place: int) -> Node | None:
        """The one value that crosses a place; None where the graph cannot be cut there."""
        if not 0 < place < len(self.main):
            return None
        alive = self.alive(place)
        if len(alive) != 1 or alive[0].op == "placeholder":
            return None
        value = alive[0].meta.get("val")
        if not isinstance(value, Tensor) or not value.is_floating_point() or value.ndim < 2:
            return None
        if expression_of(value.shape[0]) != self.batch:
            return None
        group = self.groups.of(alive[0])
        written = any(self.place.get(writer, -1) >= place for writer in self.writers.get(group, ()))
        return None if written else alive[0]

    def _data(self) -> list[Node]:
        """Inputs whose values are the data; token ids are at hand everywhere."""
        return [
            node
            for node in self.nodes
            if node.name in self.exported.inputs and node.meta["val"].is_floating_point()
        ]

    def _is_ids(self, node: Node) -> bool:
        name = self.exported.inputs.get(node.name)
        return name is not None and name != _MASK and not node.meta["val"].is_floating_point()

    def _taint(self) -> set[Node]:
        """Goes over the graph until nothing more is found: what is written to may have been read before."""
        tainted = set(self._data())
        written = self._written_placeholders()
        while True:
            before = len(tainted)
            spreading = {group for group, writers in self.writers.items() if tainted.intersection(writers)}
            from_ids: set[Node] = set()
            learned: set[Node] = set()
            for node in self.nodes:
                if node.op == "placeholder":
                    from_ids.update([node] if self._is_ids(node) else [])
                    learned.update([node] if _is_learned(node, self.exported) else [])
                elif node.op == "call_function" and not _is_symbolic(node):
                    read = set(inputs_of(node))
                    from_ids.update([node] if read & from_ids else [])
                    learned.update([node] if read & learned else [])
                    looked_up = node in from_ids and node in learned and _is_floating(node)
                    group = self.groups.of(node)
                    own = group in spreading or any(self.groups.of(other) in written for other in read)
                    if read & tainted or looked_up or own or _is_random(node):
                        tainted.add(node)
            if len(tainted) == before:
                return tainted

    def _written_placeholders(self) -> set[int]:
        """Groups of the network's own buffers that the graph writes to."""
        return {self.groups.of(node) for node in self.nodes if node.op == "placeholder"} & set(self.writers)

    def _living(self) -> list[Node]:
        """The main operations that lead to the output or leave something behind."""
        writing = {node for nodes in self.writers.values() for node in nodes}
        living = {self.output}
        for node in reversed(self.nodes):
            if node.op != "call_function" or node not in self._tainted or _is_check(node):
                continue
            if node in writing or _is_random(node) or living.intersection(node.users):
                living.add(node)
        return [node for node in self.nodes if node in living and node.op == "call_function"]

    def _last_uses(self) -> dict[Node, int]:
        """Of each value the last place whose operation reads it."""
        last = {self.output: len(self.main)}
        for number, node in enumerate(self.main):
            for read in inputs_of(node, whole=True):
                last[read] = max(last.get(read, -1), number)
        return last


def inputs_of(node: Node, *, whole: bool = False) -> list[Node]:
    """The nodes whose values a node reads: not those of whose shape alone it is made, unless ``whole``."""
    if operation(node) in FACTORIES and not whole:
        return []
    return list(node.all_input_nodes)


def operation(node: Node) -> str:
    """``conv2d`` for ``aten.conv2d.default``."""
    return str(getattr(node.target, "__name__", node.target)).split(".")[0]


def _is_symbolic(node: Node) -> bool:
    return isinstance(
        node.meta.get("val"), torch.SymInt | torch.SymFloat | torch.SymBool | int | float | bool
    )


is_symbolic = _is_symbolic


def _is_check(node: Node) -> bool:
    return operation(node).startswith(_CHECKS)


def _is_floating(node: Node) -> bool:
    value = node.meta.get("val")
    values = value if isinstance(value, tuple | list) else [value]
    return any(isinstance(one, Tensor) and one.is_floating_point() for one in values)


def _is_learned(node: Node, exported: Exported) -> bool:
    return node.name in exported.tensors and _is_floating(node)


def _nested(node: Node) -> Iterator[Node]:
    """The operations of a part of the graph that runs as one, as under ``torch.no_grad``."""
    for given in node.args:
        if isinstance(given, Node) and given.op == "get_attr":
            owner: Any = given.graph.owning_module
            part = getattr(owner, str(given.target), None)
            if isinstance(part, torch.fx.GraphModule):
                for inner in part.graph.nodes:
                    yield inner
                    yield from _nested(inner)


def _is_random(node: Node) -> bool:
    if node.op != "call_function":
        return False
    if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
        asleep = argument(node, "train", True) is False or argument(node, "training", True) is False
        return not asleep and argument(node, "dropout_p") != 0
    return any(_is_random(inner) for inner in _nested(node))


is_random = _is_random


def argument(node: Node, name: str, default: Any = None) -> Any:
    """An argument of a node by the name that the operation gives it."""
    schema = getattr(node.target, "_schema", None)
    for number, described in enumerate(schema.arguments if schema is not None else ()):
        if described.name == name:
            return (
                node.args[number]
                if number < len(node.args)
                else node.kwargs.get(name, described.default_value)
            )
    return default


class _Groups:
    """Which values share their memory."""

    def __init__(self, nodes: list[Node]):
        self._parent: dict[Node, Node] = {}
        stores: dict[int, Node] = {}
        for node in nodes:
            for other in _aliased(node):
                self._join(other, node)
            value = node.meta.get("val")
            for one in value if isinstance(value, tuple | list) else (value,):
                if isinstance(one, Tensor):
                    self._join(stores.setdefault(one.untyped_storage()._cdata, node), node)
        self._number = {node: number for number, node in enumerate(nodes)}

    def of(self, node: Node) -> int:
        """The number of a value's group."""
        return self._number[self._root(node)]

    def _root(self, node: Node) -> Node:
        while (above := self._parent.get(node, node)) is not node:
            node = above
        return node

    def _join(self, one: Node, other: Node) -> None:
        first, second = self._root(one), self._root(other)
        if first is not second:
            self._parent[second] = first


def _aliased(node: Node) -> list[Node]:
    """The arguments whose memory a node's value may share."""
    if node.op != "call_function":
        return []
    if operation(node) == "getitem":
        return list(node.all_input_nodes)
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return []
    given = [
        argument(node, described.name) for described in schema.arguments if described.alias_info is not None
    ]
    return [one for one in given if isinstance(one, Node)]


def _writers(nodes: list[Node], groups: _Groups) -> dict[int, list[Node]]:
    """For each group that is written to, the operations that do."""
    found: dict[int, list[Node]] = {}
    for node in nodes:
        for target in _written(node):
            found.setdefault(groups.of(target), []).append(node)
    return found


def _written(node: Node) -> list[Node]:
    if node.op != "call_function":
        return []
    silent = _SILENT_WRITERS.get(operation(node))
    if silent is not None and silent[-1] < len(node.args) and node.args[silent[-1]]:
        return [one for place in silent[:-1] if isinstance(one := node.args[place], Node)]
    if any(_written(inner) for inner in _nested(node)):
        return [one for one in node.args if isinstance(one, Node) and one.op != "get_attr"]
    schema = getattr(node.target, "_schema", None)
    found: list[Node] = []
    for described in schema.arguments if schema is not None else ():
        if described.alias_info is not None and described.alias_info.is_write:
            given = argument(node, described.name)
            found += [
                one
                for one in (given if isinstance(given, list | tuple) else [given])
                if isinstance(one, Node)
            ]
    return found
