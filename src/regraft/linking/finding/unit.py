"""Unit: the tensors that one operation of a network uses together, seen from either side of a link."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Unit:
    """The tensors that one operation uses together: a convolution, a norm, a table of positions.

    Attributes
    ----------
    name
        The path that its tensors share, as in ``encoder.layer.3.output.dense``.
    kind
        As an :class:`~regraft.linking.tracing.operators.Operator`'s; from names alone also ``matrix`` (linear
        or embedding) and ``norm`` (some norm without running statistics).
    tensors
        What each tensor is to it (``weight``, ``bias``, ..) and its name in the link.
    shapes
        Shape of each, by the same roles.
    place
        Its number in the order in which the network runs, or names its tensors.
    depth, height
        Units on the longest path from the input, and to the output; -1 where nothing was traced.
    before, after
        Places of its neighbours.
    attributes, part, rows
        As an operator's.
    members
        The units that were joined to make this one.
    joined
        Why: ``qkv`` as one layer, or a convolution and its ``norm``.
    """

    name: str
    kind: str
    tensors: Mapping[str, str]
    shapes: Mapping[str, Shape]
    place: int = 0
    depth: int = -1
    height: int = -1
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    part: str = ""
    rows: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    members: tuple[Unit, ...] = ()
    joined: Literal["", "qkv", "norm"] = ""

    @property
    def traced(self) -> bool:
        """Whether it was seen at work, and not only named."""
        return self.depth >= 0

    @property
    def orientation(self) -> str:
        """``oi`` where rows of the weight are outputs, ``io`` where they are inputs."""
        return str(self.attributes.get("orientation", "oi"))

    @property
    def signature(self) -> tuple[Any, ...]:
        """What decides which units can carry over to it: kind, shapes and layout."""
        roles = tuple(sorted(self.shapes.items()))
        own = tuple(member.signature for member in self.members)
        return (self.kind.partition(":")[0], roles, self.orientation, self.part, own)


ROLES = {
    "weight": "weight",
    "kernel": "weight",
    "gamma": "weight",
    "scale": "weight",
    "w": "weight",
    "embedding": "weight",
    "embeddings": "weight",
    "depthwise_kernel": "weight",
    "pointwise_kernel": "weight",
    "bias": "bias",
    "beta": "bias",
    "b": "bias",
    "offset": "bias",
    "running_mean": "running_mean",
    "moving_mean": "running_mean",
    "mean": "running_mean",
    "running_var": "running_var",
    "moving_variance": "running_var",
    "var": "running_var",
    "num_batches_tracked": "num_batches_tracked",
    "in_proj_weight": "weight",
    "in_proj_bias": "bias",
}
"""The last part of a tensor's name -> what the tensor is to the operation that uses it."""
