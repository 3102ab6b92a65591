"""What a layer gives to attention: queries, keys or values, and in which order of rows.

The order is read off the network, not assumed: numbered rows are sent the way that its outputs go, through
views, splits and transposes, and looked at where attention reads them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from regraft.linking.tracing.nodes import operation

# Operations that move numbers about and do not change them, or that scale all of them alike.
_MOVES = {
    "view", "reshape", "permute", "transpose", "t", "unflatten", "flatten", "contiguous", "clone", "alias",
    "unsqueeze", "squeeze", "select", "slice", "chunk", "split", "split_with_sizes", "unbind", "getitem",
    "expand", "_unsafe_view", "narrow", "tensor_split", "movedim", "swapaxes", "detach", "roll",
}  # fmt: skip
_SCALES = {"mul", "div", "dropout", "to", "_to_copy", "type_as", "float"}
_SOFT = {"softmax", "_softmax"}
_PRODUCTS = {"matmul", "bmm", "einsum"}
_BETWEEN = _MOVES | _SCALES | {"add", "masked_fill", "where", "sub"}
_LIMIT = 400


def find_part(node: Node, found: set[Node]) -> str:
    """``q``, ``k``, ``v``, ``qkv`` or another union of them; empty for what no attention reads."""
    parts = {part for _, _, part in _readers(node, found)}
    return "".join(part for part in "qkv" if part in parts)


def part_rows(node: Node, found: set[Node]) -> dict[str, tuple[int, ...]]:
    """For each part the rows of the layer's output that attention reads as it, head by head.

    Empty where the way to attention does more than move and scale.
    """
    rows: dict[str, tuple[int, ...]] = {}
    for reader, place, part in _readers(node, found):
        if part in rows:
            continue
        given = _argument(reader, place)
        numbered = _send(given, node) if given is not None else None
        order = _order(numbered) if numbered is not None else None
        if order is None:
            return {}
        rows[part] = order
    return rows


def _readers(node: Node, found: set[Node]) -> list[tuple[Node, int, str]]:
    """The attention operations that read a layer's output: the node, which argument, which part."""
    seen, queue, readers = {node}, [node], []
    while queue and len(seen) < _LIMIT:
        current = queue.pop(0)
        for user in current.users:
            if user in seen and operation(user) not in _PRODUCTS | {"scaled_dot_product_attention"}:
                continue
            name = operation(user)
            places = [place for place, value in enumerate(user.args) if value is current]
            if name == "scaled_dot_product_attention":
                readers += [(user, place, "qkv"[place]) for place in places if place < 3]
            elif name in _PRODUCTS and user not in found:
                readers += [(user, place, _product_part(user, place)) for place in places]
            elif _passes(user) and (user not in found or _adds_vector(user)):
                seen.add(user)
                queue.append(user)
    return [reader for reader in readers if reader[2]]


def _passes(node: Node) -> bool:
    """Whether a node hands on the numbers that it gets, moved or all scaled alike."""
    return operation(node) in _MOVES | _SCALES or _appends_nothing(node) or _adds_vector(node)


def _adds_vector(node: Node) -> bool:
    """Whether it adds a bias: the same number to every value of a row."""
    sizes = [len(argument.meta["val"].shape) for argument in node.all_input_nodes]
    return operation(node) == "add" and len(sizes) == 2 and min(sizes) == 1 < max(sizes)


def _appends_nothing(node: Node) -> bool:
    """Whether it joins a tensor to empty ones, as to a cache that holds nothing yet."""
    if operation(node) != "cat":
        return False
    sizes = [argument.meta["val"].numel() for argument in node.all_input_nodes]
    return sum(size > 0 for size in sizes) == 1


def _product_part(product: Node, place: int) -> str:
    """Which part the argument of a product is: of q k' before a softmax, or of weights x v after one."""
    if _reaches_softmax(product):
        return "qk"[place] if place < 2 else ""
    other = _argument(product, 1 - place) if place < 2 else None
    return "v" if other is not None and _comes_from_softmax(other) else ""


def _reaches_softmax(node: Node) -> bool:
    queue, seen = [node], {node}
    while queue and len(seen) < 60:
        for user in queue.pop(0).users:
            if operation(user) in _SOFT:
                return True
            if user not in seen and operation(user) in _BETWEEN:
                seen.add(user)
                queue.append(user)
    return False


def _comes_from_softmax(node: Node) -> bool:
    for _ in range(20):
        if operation(node) in _SOFT:
            return True
        if operation(node) not in _BETWEEN or not node.all_input_nodes:
            return False
        node = node.all_input_nodes[0]
    return False


def _argument(node: Node, place: int) -> Node | None:
    given = node.args[place] if place < len(node.args) else None
    return given if isinstance(given, Node) else None


def _send(node: Node, start: Node) -> Tensor | None:
    """The numbers of the rows of ``start``'s output as they arrive at ``node``; None where they do not."""
    path: list[Node] = []
    current = node
    while current is not start:
        inner = [argument for argument in current.all_input_nodes if _descends(argument, start)]
        if len(inner) != 1 or not _passes(current) or len(path) > 60:
            return None
        path.append(current)
        current = inner[0]
    shape = start.meta["val"].shape
    axis = 1 if "conv" in operation(start) else len(shape) - 1
    layout = [1] * len(shape)
    layout[axis] = shape[axis]
    value: Any = torch.arange(shape[axis], dtype=torch.float64).reshape(layout).expand(shape).contiguous()
    previous = start
    for step in reversed(path):
        moved = operation(step) in _MOVES
        value = _apply(step, previous, value) if moved else value
        previous = step
    return value


def _apply(step: Node, previous: Node, value: Any) -> Any:
    arguments = [value if argument is previous else argument for argument in step.args]
    return step.target(*arguments, **step.kwargs)  # type: ignore[operator]


def _descends(node: Node, start: Node) -> bool:
    """Whether a node's value is moved or scaled from ``start``'s."""
    queue, seen = [node], {node}
    while queue and len(seen) < _LIMIT:
        current = queue.pop()
        if current is start:
            return True
        if current.op == "call_function" and _passes(current):
            fresh = [argument for argument in current.all_input_nodes if argument not in seen]
            seen.update(fresh)
            queue += fresh
    return False


def _order(numbered: Tensor) -> tuple[int, ...] | None:
    """The rows in the order heads x width, from a tensor that holds their numbers along two of its axes."""
    varying = [
        axis
        for axis in range(numbered.ndim)
        if numbered.shape[axis] > 1
        and not torch.equal(numbered, numbered.narrow(axis, 0, 1).expand_as(numbered))
    ]
    for axis in range(numbered.ndim):
        if axis not in varying:
            numbered = numbered.narrow(axis, 0, 1)
    order = tuple(int(number) for number in numbered.flatten())
    return order if len(set(order)) == len(order) else None
