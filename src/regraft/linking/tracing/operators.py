"""Operators: the operations of an exported network that read parameters, and how they hang together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.fx import Node

from regraft.linking.tracing.attention import find_part, part_rows
from regraft.linking.tracing.nodes import operation

_KINDS = {
    "conv1d": "conv",
    "conv2d": "conv",
    "conv3d": "conv",
    "convolution": "conv",
    "conv_transpose1d": "conv_transpose",
    "conv_transpose2d": "conv_transpose",
    "conv_transpose3d": "conv_transpose",
    "linear": "linear",
    "addmm": "linear",
    "mm": "linear",
    "matmul": "linear",
    "bmm": "linear",
    "batch_norm": "batch_norm",
    "layer_norm": "layer_norm",
    "group_norm": "group_norm",
    "rms_norm": "rms_norm",
    "instance_norm": "instance_norm",
    "embedding": "embedding",
    "lstm": "recurrent",
    "gru": "recurrent",
    "rnn_tanh": "recurrent",
    "rnn_relu": "recurrent",
}
_ROLES = {"mat2": "weight", "other": "weight", "self": "bias", "params": "weight"}
_ATTRIBUTES = ("groups", "eps")
# Made from the shape of an activation and not from its values.
_SHAPES_ONLY = (
    "new_zeros",
    "new_ones",
    "new_full",
    "new_empty",
    "zeros_like",
    "ones_like",
    "full_like",
    "sym_size",
)
_TRANSPOSES = ("t", "transpose", "permute", "numpy_T", "mT")


@dataclass(frozen=True)
class Operator:
    """One operation of a traced network that reads parameters.

    Attributes
    ----------
    name
        Of its node in the exported graph; unique.
    kind
        ``conv``, ``linear``, ``batch_norm``, ``layer_norm``, ``group_norm``, ``embedding``, ``recurrent``;
        ``table:add``, ``table:mul``, ``table:cat`` for a tensor that meets the activation in one of these.
    tensors
        What each tensor is to it (``weight``, ``bias``, ``running_mean``, ..) and its name in the module's
        state dict.
    attributes
        ``groups`` of a convolution, ``eps`` of a norm, ``orientation`` of a linear layer: ``oi`` where rows
        are outputs, else ``io``.
    before, after
        Names of the nearest operators upstream and downstream; none at the input and the output.
    depth
        Operators on the longest path from the input.
    part
        What it gives to attention: ``q``, ``k``, ``v`` or ``qkv``; empty elsewhere.
    rows
        For each of ``q``, ``k`` and ``v`` the rows of its output, head by head, as attention reads them.
    """

    name: str
    kind: str
    tensors: Mapping[str, str]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    depth: int = 0
    part: str = ""
    rows: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


def read_operators(exported: torch.export.ExportedProgram, prefix: str = "") -> tuple[Operator, ...]:
    """The operators of an exported network as they run; ``prefix`` is taken off the names of its tensors."""
    tainted = follows_input(exported)
    carried = {
        node: tuple(name.removeprefix(prefix) for name in names)
        for node, names in _parameters(exported, tainted).items()
    }
    found = [node for node in exported.graph.nodes if node in tainted and _own(node, tainted, carried)]
    names = set(found)
    before = _upstream(exported, tainted, names)
    depths: dict[Node, int] = {}
    for node in found:
        depths[node] = 1 + max((depths[other] for other in before[node]), default=-1)
    after: dict[Node, list[str]] = {node: [] for node in found}
    for node in found:
        for other in before[node]:
            after[other].append(node.name)
    return tuple(
        _operator(node, tainted, carried, names, before[node], tuple(after[node]), depths[node])
        for node in found
    )


def follows_input(exported: torch.export.ExportedProgram) -> set[Node]:
    """The nodes whose values depend on what the user hands in."""
    wanted = set(exported.graph_signature.user_inputs)
    tainted: set[Node] = set()
    for node in exported.graph.nodes:
        if node.op == "placeholder":
            if node.name in wanted:
                tainted.add(node)
        elif (
            node.op == "call_function"
            and operation(node) not in _SHAPES_ONLY
            and any(argument in tainted for argument in node.all_input_nodes)
        ):
            tainted.add(node)
    return tainted


def _parameters(exported: torch.export.ExportedProgram, tainted: set[Node]) -> dict[Node, tuple[str, ...]]:
    """Of every node that does not depend on the input, the tensors that it is computed from."""
    signature = exported.graph_signature
    stored = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    transient = set(signature.non_persistent_buffers)
    carried: dict[Node, tuple[str, ...]] = {}
    for node in exported.graph.nodes:
        if node in tainted:
            continue
        if node.op == "placeholder":
            own = stored.get(node.name)
            carried[node] = (own,) if own is not None and own not in transient else ()
        else:
            below = [name for argument in node.all_input_nodes for name in carried.get(argument, ())]
            carried[node] = tuple(dict.fromkeys(below))
    return carried


def _own(node: Node, tainted: set[Node], carried: Mapping[Node, tuple[str, ...]]) -> list[Node]:
    """The arguments of a node that hold tensors of the network."""
    return [
        argument for argument in node.all_input_nodes if argument not in tainted and carried.get(argument)
    ]


def _upstream(
    exported: torch.export.ExportedProgram, tainted: set[Node], found: set[Node]
) -> dict[Node, list[Node]]:
    """For every operator the nearest operators that its activations come from."""
    reach: dict[Node, tuple[Node, ...]] = {}
    before: dict[Node, list[Node]] = {}
    for node in exported.graph.nodes:
        if node not in tainted:
            continue
        up = list(
            dict.fromkeys(
                other for argument in node.all_input_nodes if argument in tainted for other in reach[argument]
            )
        )
        if node in found:
            before[node] = up
            reach[node] = (node,)
        else:
            reach[node] = tuple(up)
    return before


def _operator(
    node: Node,
    tainted: set[Node],
    carried: Mapping[Node, tuple[str, ...]],
    found: set[Node],
    before: Iterable[Node],
    after: tuple[str, ...],
    depth: int,
) -> Operator:
    kind = _KINDS.get(operation(node), f"table:{operation(node)}")
    part = find_part(node, found) if kind in ("linear", "conv") else ""
    return Operator(
        name=node.name,
        kind=kind,
        tensors=_tensors(node, tainted, carried, kind),
        attributes=_attributes(node, tainted, carried, kind),
        before=tuple(other.name for other in before),
        after=after,
        depth=depth,
        part=part,
        rows=part_rows(node, found) if part else {},
    )


def _tensors(
    node: Node, tainted: set[Node], carried: Mapping[Node, tuple[str, ...]], kind: str
) -> dict[str, str]:
    tensors: dict[str, str] = {}
    for role, argument in _named_arguments(node):
        names = carried.get(argument, ()) if argument not in tainted else ()
        if kind.startswith("table") or len(names) != 1:
            roles = [name.rpartition(".")[2] for name in names]
        else:
            roles = [_ROLES.get(role, role)]
        for place, name in zip(roles, names, strict=True):
            tensors.setdefault(place if place not in tensors else f"{place}.{len(tensors)}", name)
    return tensors


def _named_arguments(node: Node) -> list[tuple[str, Node]]:
    """The tensor arguments of a node with the names that the operation gives them."""
    schema = getattr(node.target, "_schema", None)
    names = [argument.name for argument in schema.arguments] if schema is not None else []
    given = {
        names[place] if place < len(names) else str(place): value for place, value in enumerate(node.args)
    }
    given.update(node.kwargs)
    found: list[tuple[str, Node]] = []
    for name, value in given.items():
        if isinstance(value, Node):
            found.append((name, value))
        elif isinstance(value, (list, tuple)):
            found += [(f"{name}.{place}", one) for place, one in enumerate(value) if isinstance(one, Node)]
    return found


def _attributes(
    node: Node, tainted: set[Node], carried: Mapping[Node, tuple[str, ...]], kind: str
) -> dict[str, Any]:
    schema = getattr(node.target, "_schema", None)
    attributes: dict[str, Any] = {}
    for place, argument in enumerate(schema.arguments if schema is not None else ()):
        if argument.name in _ATTRIBUTES:
            value = node.args[place] if place < len(node.args) else argument.default_value
            attributes[argument.name] = list(value) if isinstance(value, (list, tuple)) else value
    if kind == "linear":
        attributes["orientation"] = _orientation(node, tainted, carried)
    return attributes


def _orientation(node: Node, tainted: set[Node], carried: Mapping[Node, tuple[str, ...]]) -> str:
    """``oi`` where the stored weight has one row for each output, ``io`` where it has one for each input."""
    flips = 0 if operation(node) == "linear" else 1
    for argument in _own(node, tainted, carried):
        if len(argument.meta["val"].shape) < 2:
            continue
        while argument.op != "placeholder":
            flips += operation(argument) in _TRANSPOSES
            argument = next(inner for inner in argument.all_input_nodes if carried.get(inner))
    return "io" if flips % 2 else "oi"
