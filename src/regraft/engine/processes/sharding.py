"""Sharding (FSDP2): trained weights, their gradients and optimiser state divided among the processes."""

from __future__ import annotations

from torch import Tensor


def gathered(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors with their shards put together; called by all processes."""
    return {name: whole(tensor) for name, tensor in tensors.items()}


def whole(tensor: Tensor) -> Tensor:
    """A tensor with its shards put together."""
    put_together = getattr(tensor, "full_tensor", None)  # a DTensor, whose import takes a while
    return tensor if put_together is None else put_together()
