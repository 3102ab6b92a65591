"""Stacked recurrent networks: one operation for all layers becomes one for each, on the same parameters."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch.fx import Graph, Node

from regraft.sources.cutting.flow import argument, operation

KINDS = ("lstm", "gru", "rnn_tanh", "rnn_relu")


def unstack(graph: Graph) -> None:
    """Split each stacked recurrent operation of an exported graph into its layers, in place.

    Each layer is the library's own operation for one layer; dropout lies between them as in the whole.
    """
    for node in list(graph.nodes):
        if node.op == "call_function" and operation(node) in KINDS and _layers(node) > 1:
            _Unstacking(graph, node).run()


def _layers(node: Node) -> int:
    schema = getattr(node.target, "_schema", None)
    return int(argument(node, "num_layers", 1)) if schema and schema.overload_name == "input" else 1


class _Unstacking:
    """Replaces one stacked operation."""

    def __init__(self, graph: Graph, node: Node):
        self.graph, self.node = graph, node
        self.layers = _layers(node)
        self.directions = 2 if argument(node, "bidirectional") else 1
        self.dropout, self.train = argument(node, "dropout"), argument(node, "train")
        given: Any = argument(node, "hx")
        self.states: list[Node] = list(given) if isinstance(given, list | tuple) else [given]
        self.listed = isinstance(given, list | tuple)

    def run(self) -> None:
        """Put the layers where the stack was."""
        value = argument(self.node, "input")
        finals: list[list[Node]] = []
        with self.graph.inserting_before(self.node):
            for layer in range(self.layers):
                if layer and self.train and self.dropout:
                    dropped = torch.ops.aten.dropout.default
                    kept = value
                    value = self._call(layer, dropped, (kept, self.dropout, True))
                    value.meta["val"] = kept.meta["val"]
                made = self._layer(layer, value)
                value, *final = (self._item(layer, made, place) for place in range(1 + len(self.states)))
                finals.append(final)
        self._replace(value, finals)

    def _layer(self, layer: int, value: Any) -> Node:
        first, last = layer * self.directions, (layer + 1) * self.directions
        states = [
            self._call(layer, torch.ops.aten.slice.Tensor, (state, 0, first, last)) for state in self.states
        ]
        for state, given in zip(states, self.states, strict=True):
            state.meta["val"] = given.meta["val"][first:last]
        params: Any = argument(self.node, "params")
        each = len(params) // self.layers
        made = self._call(
            layer,
            self.node.target,
            (
                value,
                states if self.listed else states[0],
                list(params[layer * each : (layer + 1) * each]),
                argument(self.node, "has_biases"),
                1,
                0.0,
                self.train,
                argument(self.node, "bidirectional"),
                argument(self.node, "batch_first"),
            ),
        )
        whole, *finals = self.node.meta["val"]
        with whole.fake_mode:
            parts = [final.new_empty((self.directions, *final.shape[1:])) for final in finals]
            made.meta["val"] = (torch.empty_like(whole), *parts)
        return made

    def _item(self, layer: int, made: Node, place: int) -> Node:
        item = self._call(layer, operator.getitem, (made, place))
        item.meta["val"] = made.meta["val"][place]
        return item

    def _call(self, layer: int, target: Any, given: tuple[Any, ...]) -> Node:
        node = self.graph.call_function(target, given)
        stack = dict(self.node.meta.get("nn_module_stack") or {})
        if stack:
            key, (path, kind) = list(stack.items())[-1]
            stack[f"{key}.layer.{layer}"] = (f"{path}.layer.{layer}", kind)
        node.meta["nn_module_stack"] = stack
        return node

    def _replace(self, value: Node, finals: list[list[Node]]) -> None:
        for item in list(self.node.users):
            place = item.args[1]
            if place == 0:
                item.replace_all_uses_with(value)
            else:
                self._replace_final(item, [final[int(place) - 1] for final in finals])  # type: ignore[arg-type]
            self.graph.erase_node(item)
        self.graph.erase_node(self.node)

    def _replace_final(self, item: Node, finals: list[Node]) -> None:
        """The layers' last states as one tensor, but for whoever reads only one of them."""
        for user in list(item.users):
            if operation(user) == "select" and user.args[1] == 0 and isinstance(user.args[2], int):
                layer, direction = divmod(user.args[2] % (self.layers * self.directions), self.directions)
                user.args = (finals[layer], 0, direction)
        if item.users:
            with self.graph.inserting_before(item):
                whole = self._call(self.layers - 1, torch.ops.aten.cat.default, (finals, 0))
            whole.meta["val"] = item.meta["val"]
            item.replace_all_uses_with(whole)
