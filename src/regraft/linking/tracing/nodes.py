"""Nodes of an exported graph."""

from __future__ import annotations

from torch.fx import Node


def operation(node: Node) -> str:
    """``conv2d`` for ``aten.conv2d.default``; an operation in place is called as the one that is not."""
    name = str(getattr(node.target, "__name__", node.target)).split(".")[0]
    return name if name.startswith("_") or not name.endswith("_") else name[:-1]
