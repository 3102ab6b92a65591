"""The lwf term: the source's own answers on the target's examples are not forgotten."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from regraft.core.task_spec import TaskKind
from regraft.terms.options import number
from regraft.terms.term import StageContext, StepContext, Term, TermValue

TEMPERATURE = 2.0


class LwF(Term):
    """Learning without forgetting (Li & Hoiem 2016).

    ``L = -1/N sum_i sum_c y_ic log p_ic``  with  ``y_i = softmax(o_i / T)``,  ``p_i = softmax(h(f_i) / T)``,

    summed over the source's own outputs: ``o_i`` (``Float[Tensor, "K"]``) are the logits that the unchanged
    source gives for example i, ``f_i`` the student's features and h a copy of the source's head that is
    trained with the student and then dropped. T is the temperature; the paper's probabilities to the power
    1/T, normalised, are ``softmax(o_i / T)``. A source with several labels per example has a sum of two for
    each of them, averaged over labels.

    It reads two models, the student and its source with its own heads (``heads: source``), in this order, one
    stream and no label. Options: ``temperature`` (2, as in the paper).
    """

    name = "lwf"
    takes: ClassVar[tuple[str, ...]] = ("temperature",)
    reads_models: ClassVar[tuple[int, int]] = (2, 2)

    def __init__(self, **given: Any):
        super().__init__(**given)
        self.temperature = number(self.options, "temperature", TEMPERATURE, positive=True)
        self._kinds: dict[str, TaskKind] = {}

    def make_module(self, stage: StageContext) -> nn.Module:
        """Copies of the source's heads, to be trained with the student's layers."""
        student, source = self.models
        self._kinds = {output: spec.kind for output, spec in stage.specs(source).items()}
        stage.same_width(self.name, student, source)
        heads = [copy.deepcopy(head).requires_grad_(True) for head in stage.heads(source).values()]
        return nn.ModuleList(heads)

    def __call__(self, context: StepContext) -> TermValue:
        """See :class:`Term`."""
        assert isinstance(self.own, nn.ModuleList)
        stream = self.streams[0]
        student, source = self.models
        features, theirs = context.features(student, stream), context.outputs(source, stream)
        parts = [
            soft_cross_entropy(head(features), theirs[output].detach(), kind, self.temperature)
            for head, (output, kind) in zip(self.own, self._kinds.items(), strict=True)
        ]
        per_example = torch.stack(parts).sum(0) / max(context.sizes[stream], 1)
        return TermValue(per_example.sum(), per_example.detach())


def soft_cross_entropy(given: Tensor, wanted: Tensor, kind: TaskKind, temperature: float) -> Tensor:
    """Cross-entropy of softened predictions with softened wanted ones, ``Float[Tensor, "examples"]``."""
    if kind == "multilabel":
        given, wanted = (torch.stack([z, torch.zeros_like(z)], dim=-1) for z in (given, wanted))
    each = -((wanted / temperature).softmax(-1) * (given / temperature).log_softmax(-1)).sum(-1)
    return each.mean(-1) if each.ndim > 1 else each
