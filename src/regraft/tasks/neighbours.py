"""A head that holds examples: what is asked is what the most similar ones were labelled."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from regraft.core.task_spec import TaskSpec

KIND = "neighbours"
TEMPERATURE = 0.07


@dataclass(frozen=True)
class NeighbourSpec:
    """What of a neighbour head its tensors do not say.

    Attributes
    ----------
    examples, width, outputs
        M, D and K of :class:`NeighbourHead`.
    neighbours
        How many of the examples vote.
    task
        The task's kind: one of several classes, any of them, or a number.
    temperature
        How fast a vote fades with the similarity.
    """

    examples: int
    width: int
    outputs: int
    neighbours: int
    task: str
    temperature: float = TEMPERATURE

    def to_json(self) -> dict[str, Any]:
        """As plain JSON, with the kind of head that it is."""
        return {"kind": KIND, **asdict(self)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> NeighbourSpec:
        """What :meth:`to_json` was made of."""
        return cls(**{name: value for name, value in data.items() if name != "kind"})


class NeighbourHead(nn.Module):
    """The weighted vote of the k most similar of M kept examples.

    With features normalised to length 1 an example x is as similar to a kept one as ``s_i = x . e_i``, whose
    vote weighs ``w_i = exp((s_i - s_1) / T)`` beside that of the nearest. Among exclusive classes the logits
    are ``b log((v_c + 1/K) / (V + 1))``, among others ``b log((v_c + 1/2) / (V - v_c + 1/2))``, where
    ``v_c`` are the votes for class c and ``V`` all votes: as if there were one vote more that does not know.
    For a number it is the weighted mean of the neighbours' labels.

    The buffers ``examples`` ``Float[Tensor, "M D"]`` of length 1, ``answers`` ``Float[Tensor, "M K"]`` and
    ``sharpness`` (b) travel with the model: a bundle holds the features of its training examples.

    Sources: Cover & Hart (1967), "Nearest neighbor pattern classification"; the weights of Wu et al. (2018),
    "Unsupervised feature learning via non-parametric instance discrimination", eq. 6, with their T of 0.07.
    """

    examples: Tensor
    answers: Tensor
    sharpness: Tensor

    def __init__(self, spec: NeighbourSpec):
        super().__init__()
        self.spec = spec
        self.register_buffer("examples", torch.zeros(spec.examples, spec.width))
        self.register_buffer("answers", torch.zeros(spec.examples, spec.outputs))
        self.register_buffer("sharpness", torch.ones(1))

    def forward(self, features: Tensor) -> Tensor:
        """Logits or values ``Float[Tensor, "batch K"]`` for features ``Float[Tensor, "batch D"]``."""
        similar = functional.normalize(features.float()) @ self.examples.T
        nearest, where = similar.topk(self.spec.neighbours)
        weights = vote_weights(nearest, self.spec.temperature)
        votes = (weights[..., None] * self.answers[where]).sum(1)
        return self.sharpness * opinion(votes, weights.sum(1, keepdim=True), self.spec.task)


def vote_weights(nearest: Tensor, temperature: float) -> Tensor:
    """What each vote weighs, ``Float[Tensor, "batch k"]``, of similarities in falling order."""
    return ((nearest - nearest[:, :1]) / temperature).exp()


def opinion(votes: Tensor, total: Tensor, task: str) -> Tensor:
    """Logits or values, ``Float[Tensor, ".. K"]``, of votes ``(.., K)`` and of their sum ``(.., 1)``."""
    if task == "regression":
        return votes / total
    if task == "multilabel":
        return torch.log((votes + 0.5) / (total - votes + 0.5).clamp_min(1e-6))
    return torch.log((votes + 1 / votes.shape[-1]) / (total + 1))


def head_spec(head: nn.Module) -> dict[str, Any] | None:
    """What rebuilds a head that is not the task's own; None for one that is."""
    return head.spec.to_json() if isinstance(head, NeighbourHead) else None


def build_head(data: dict[str, Any], task: TaskSpec) -> nn.Module:
    """The head that :func:`head_spec` described, its tensors not yet filled. Raises ValueError for others."""
    if data.get("kind") != KIND:
        raise ValueError(f"the head of output {task.name!r} is of the kind {data.get('kind')!r}")
    return NeighbourHead(NeighbourSpec.from_json(data))
