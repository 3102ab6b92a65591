"""Grafted: the target model: a trunk, and a head for each named output."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from regraft.core.errors import UsageError
from regraft.core.inputs import Batch
from regraft.sources.trunk import Trunk


def head_key(output: str) -> str:
    """The key of an output's head in ``Grafted.heads``: module names may hold no dot."""
    return "output_" + output.replace(".", "_")


class Grafted(nn.Module):
    """A trunk with heads.

    Attributes
    ----------
    trunk
        The network without its head.
    heads
        ``ModuleDict`` from ``output_<name>`` (dots replaced) to the head of that output.
    outputs
        Names of the outputs, in order.
    """

    heads: nn.ModuleDict

    def __init__(self, trunk: Trunk, heads: Mapping[str, nn.Module]):
        super().__init__()
        self.trunk = trunk
        self.outputs = tuple(heads)
        keyed = {head_key(output): head for output, head in heads.items()}
        if len(keyed) < len(heads):
            raise UsageError(
                f"the names of these outputs differ only in dots: {', '.join(heads)}; rename one"
            )
        self.heads = nn.ModuleDict(keyed)

    def forward(self, inputs: Batch, owners: Tensor, weights: Tensor, examples: int) -> dict[str, Tensor]:
        """What each head gives for each example, ``Float[Tensor, "examples K"]`` by output name.

        ``owners`` ``int64 (pieces,)`` and ``weights`` ``float32 (pieces,)`` say to which of the ``examples``
        examples of the batch each piece belongs, and with which share.
        """
        return self.head_outputs(self.features(inputs, owners, weights, examples))

    def features(self, inputs: Batch, owners: Tensor, weights: Tensor, examples: int) -> Tensor:
        """Features of each example, ``Float[Tensor, "examples width"]``."""
        return pool_pieces(self.trunk(inputs), owners, weights, examples)

    def outputs_from(
        self,
        activation: Tensor | None,
        inputs: Batch,
        owners: Tensor,
        weights: Tensor,
        examples: int,
        *,
        cut: int,
        mix: Callable[[Tensor], Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """As :meth:`forward`, from the activation after the first ``cut`` blocks of the trunk.

        ``mix`` is what becomes of the examples' features before the heads read them.
        """
        features = pool_pieces(self.trunk.suffix(activation, inputs, cut=cut), owners, weights, examples)
        return self.head_outputs(features if mix is None else mix(features))

    def head_outputs(self, features: Tensor) -> dict[str, Tensor]:
        """What each head gives for features of examples, by output name."""
        return {output: self.heads[head_key(output)](features) for output in self.outputs}


def pool_pieces(features: Tensor, owners: Tensor, weights: Tensor, examples: int) -> Tensor:
    """The weighted mean of each example's pieces: ``(pieces, width)`` to ``(examples, width)``."""
    pooled = torch.zeros(examples, features.shape[1], dtype=features.dtype, device=features.device)
    return pooled.index_add(0, owners, features * weights.to(features.dtype)[:, None])
