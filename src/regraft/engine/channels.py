"""Channels: which dimension of a frozen prefix's maps holds them, by what the network does and not by sizes.

A convolution or a batch norm gives maps ``(pieces, channels, height, width)``; a layer norm over the last
dimension gives ``(pieces, height, width, channels)``, as in Swin. What is computed place by place keeps that,
and a permutation moves it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from regraft.core.inputs import Batch
from regraft.inference import evaluating
from regraft.sources import Trunk

_FIRST = ("conv", "batch_norm", "group_norm", "pool2d", "upsample", "pixel_shuffle")
_MOVES = ("permute", "transpose")
_RESIZES = ("cat", "slice", "constant_pad", "reflection_pad", "replication_pad")
"""Operations that change how long a dimension is, and not what it stands for."""


def channel_axis(trunk: Trunk, cut: int, batch: Batch) -> int | None:
    """The dimension of the channels in the activation after the first ``cut`` blocks; None where it has not
    four dimensions or what the network does says nothing about them.
    """
    with evaluating(trunk), torch.no_grad(), _Following() as following:
        value = trunk.prefix(batch, cut=cut)
    return None if value is None else following.axis_of(value)


class _Following(TorchDispatchMode):
    """Follows the channels of every tensor with four dimensions through all operations."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._known: dict[int, tuple[Tensor, int]] = {}  # with the tensor, so that no other gets its number

    def axis_of(self, values: Tensor) -> int | None:
        """The dimension of a tensor's channels, if it is known."""
        return self._known[id(values)][1] if id(values) in self._known else None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and note where the channels of what it made are."""
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor) and leaf.ndim == 4:
                axis = self._find(func.overloadpacket.__name__, args, leaf)
                self._known.pop(id(leaf), None)
                if axis is not None:
                    self._known[id(leaf)] = (leaf, axis)
        return made

    def _find(self, name: str, args: Any, made: Tensor) -> int | None:
        if any(part in name for part in _FIRST):
            return 1
        if "layer_norm" in name:
            return 3 if len(args[1]) == 1 else None
        if name in _MOVES:
            before = self.axis_of(args[0])
            return None if before is None else _order(name, args).index(before)
        read = [leaf for leaf in tree_leaves(args) if isinstance(leaf, Tensor)]
        kept = [leaf for leaf in read if leaf.shape == made.shape or name.startswith(_RESIZES)]
        axes = {axis for leaf in kept if (axis := self.axis_of(leaf)) is not None}
        return axes.pop() if len(axes) == 1 else None


def _order(name: str, args: Any) -> list[int]:
    """Which dimension of what was given each dimension of what was made is."""
    if name == "permute":
        return [dimension % 4 for dimension in args[1]]
    order = [0, 1, 2, 3]
    one, other = args[1] % 4, args[2] % 4
    order[one], order[other] = order[other], order[one]
    return order
