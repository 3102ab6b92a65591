"""Grafted: the target model: a trunk, and a head for each named output."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from regraft.core.errors import UsageError
from regraft.core.inputs import Batch
from regraft.core.task_spec import TaskSpec
from regraft.sources.trunk import Trunk
from regraft.tasks import build_head, head_spec


def head_key(output: str) -> str:
    """The key of an output's head in ``Grafted.heads``: module names may hold no dot."""
    return "output_" + output.replace(".", "_")


@dataclass(frozen=True)
class Edited:
    """What the edits of a stage made of a model's tensors, as long as the stage lasts.

    Attributes
    ----------
    added
        By name of each tensor that the plain model has not, the edit that added it.
    renamed
        By name of each tensor that had another one before, the one that it has in the plain model.
    """

    added: Mapping[str, str] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)

    def plain(self, name: str) -> str:
        """The name that a tensor has where nothing is edited."""
        return self.renamed.get(name, name)


UNEDITED = Edited()


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
    edited
        What a stage's edits made of its tensors; nothing between stages.
    """

    heads: nn.ModuleDict

    def __init__(self, trunk: Trunk, heads: Mapping[str, nn.Module]):
        super().__init__()
        self.trunk = trunk
        self.edited = UNEDITED
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

    def run_from(
        self,
        activation: Tensor | None,
        inputs: Batch,
        owners: Tensor,
        weights: Tensor,
        examples: int,
        *,
        cut: int,
        mix: Callable[[Tensor], Tensor] | None = None,
        keep: Sequence[int] = (),
    ) -> tuple[Tensor, dict[str, Tensor], dict[int, Tensor]]:
        """Features and, as :meth:`forward`, outputs, from the activation after the first ``cut`` blocks.

        ``mix`` is what becomes of the examples' features before the heads read them. Behind the cut the
        activations after so many blocks as ``keep`` says, ascending, come with them, by that number.
        """
        kept: dict[int, Tensor] = {}
        for stop in keep:
            activation = self.trunk.between(activation, inputs, start=cut, stop=stop)
            kept[stop], cut = activation, stop
        features = pool_pieces(self.trunk.suffix(activation, inputs, cut=cut), owners, weights, examples)
        read = features if mix is None else mix(features)
        return read, self.head_outputs(read), kept

    def own_heads(self) -> dict[str, dict[str, Any]]:
        """By output, what rebuilds a head that is not its task's own; empty where all are."""
        found = {output: head_spec(self.heads[head_key(output)]) for output in self.outputs}
        return {output: facts for output, facts in found.items() if facts is not None}

    def replace_heads(self, heads: Mapping[str, dict[str, Any]], tasks: Mapping[str, TaskSpec]) -> None:
        """Put such heads in as :meth:`own_heads` told of, where the others lie; they are still empty."""
        for output, facts in heads.items():
            place = next(self.parameters()).device
            self.heads[head_key(output)] = build_head(facts, tasks[output]).to(place)

    def without_heads(self, outputs: tuple[str, ...]) -> dict[str, Tensor]:
        """The state without the heads of some outputs."""
        gone = tuple(f"heads.{head_key(output)}." for output in outputs)
        return {name: value for name, value in self.state_dict().items() if not name.startswith(gone)}

    def head_outputs(self, features: Tensor) -> dict[str, Tensor]:
        """What each head gives for features of examples, by output name."""
        return {output: self.heads[head_key(output)](features) for output in self.outputs}


def pool_pieces(features: Tensor, owners: Tensor, weights: Tensor, examples: int) -> Tensor:
    """The weighted mean of each example's pieces: ``(pieces, width)`` to ``(examples, width)``."""
    pooled = torch.zeros(examples, features.shape[1], dtype=features.dtype, device=features.device)
    return pooled.index_add(0, owners, features * weights.to(features.dtype)[:, None])
