"""The co-tuning term: the source's head learns from the target's labels, through what both call alike."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from regraft.core.errors import PlanError
from regraft.tasks import Task
from regraft.terms.options import number
from regraft.terms.relationship import direct, fit_temperature, reverse
from regraft.terms.term import Labels, StageContext, StepContext, Term, TermValue

_CLASSES = ("binary", "multiclass")


class CoTuning(Term):
    """Co-Tuning (You et al. 2020, "Co-Tuning for transfer learning").

    ``L = -1/N sum_i sum_s p(s | y_i) log softmax(h(f_i))_s``,

    summed over outputs and the source's own heads: ``f_i`` are the student's features, h is a copy of the
    source's head that is trained with the student and then dropped, and ``p(s | t)`` says how the source sees
    class t. N counts the examples of the batch whose label is known. Where examples are mixed in pairs, ``p``
    is mixed as they are.

    ``p(s | t)`` comes from ``q = softmax(o / T)`` (``Float[Tensor, "S"]``), o the logits that the unchanged
    source gives its S classes for each training example. ``relationship: direct`` takes the mean of q in
    class t, which fits nothing and so suits few labels; ``reverse`` fits ``p(t | s)`` and turns it round by
    Bayes' rule (``terms/relationship.py``). The paper calibrates T on data of the source, which are not
    here. ``temperature: auto`` takes the T at which the source's answers tell most of the target's labels,
    each example judged by a relationship without it; a number is taken as it is, 1 unless said.

    It reads two models, the student and its source with its own heads (``heads: source``), in this order, one
    labelled stream of the target, and outputs with exclusive classes. The paper's weight is 2.3.
    """

    name = "co-tuning"
    takes: ClassVar[tuple[str, ...]] = ("relationship", "temperature")
    reads_labels: ClassVar[bool] = True
    kinds: ClassVar[tuple[str, ...]] = _CLASSES
    reads_models: ClassVar[tuple[int, int]] = (2, 2)

    def __init__(self, **given: Any):
        super().__init__(**given)
        self._how = self.options.get("relationship", "direct")
        if self._how not in ("direct", "reverse"):
            raise PlanError(f"relationship of the term 'co-tuning' is direct or reverse; got {self._how!r}")
        self._auto = self.options.get("temperature") == "auto"
        self._temperature = 1.0 if self._auto else number(self.options, "temperature", 1.0, positive=True)
        self.related: dict[str, list[Tensor]] = {}
        """By output, for each of the source's heads p(s | t), ``Float[Tensor, "T S"]``."""

    def make_module(self, stage: StageContext) -> nn.Module:
        """Copies of the source's heads, to be trained with the student's layers."""
        student, source = self.models
        stage.same_width(self.name, student, source)
        return nn.ModuleList([copy.deepcopy(head).requires_grad_(True) for head in self._heads(stage)])

    def prepare(self, stage: StageContext) -> None:
        """Find out what the source calls the examples of each class."""
        features, labels = stage.features(self.models[1], self.streams[0])
        with torch.no_grad():
            given = [head(features) for head in self._heads(stage)]
        self.related = {
            name: [self._relate(logits, labels[name], stage.tasks[name]) for logits in given]
            for name in self.looked_at(stage.tasks)
        }

    def _relate(self, logits: Tensor, labels: Tensor, task: Task) -> Tensor:
        """``p(s | t)`` of one of the source's heads, ``Float[Tensor, "T S"]``."""
        found = fit_temperature(logits, labels, task.outputs) if self._auto else self._temperature
        given = (logits / found).softmax(1)
        if self._how == "reverse":
            return reverse(given, labels, task)
        return direct(given, labels, task.outputs)

    def _heads(self, stage: StageContext) -> list[nn.Module]:
        source = self.models[1]
        heads, specs = stage.heads(source), stage.specs(source)
        found = [head for name, head in heads.items() if specs[name].kind in _CLASSES]
        if not found:
            raise PlanError(
                f"the term 'co-tuning' reads {source!r}, which has no head for exclusive classes: take a "
                "source that has one"
            )
        return found

    def __call__(self, context: StepContext) -> TermValue:
        """See :class:`Term`."""
        assert isinstance(self.own, nn.ModuleList)
        stream = self.streams[0]
        features = context.features(self.models[0], stream)
        logs = [head(features).log_softmax(1) for head in self.own]
        parts = [self._of_output(name, logs, context) for name in self.looked_at(context.tasks)]
        per_example = torch.stack(parts).sum(0)
        return TermValue(per_example.sum(), per_example.detach())

    def _of_output(self, output: str, logs: list[Tensor], context: StepContext) -> Tensor:
        stream = self.streams[0]
        losses = self._losses(output, logs, context.labels[stream])
        partner = context.partners.get(stream)
        if partner is not None:
            others = self._losses(output, logs, partner.labels)
            losses = partner.share * losses + (1 - partner.share) * others
        return losses / max(context.known[stream][output], 1)

    def _losses(self, output: str, logs: list[Tensor], labels: Labels) -> Tensor:
        """Cross-entropy of each example, ``Float[Tensor, "examples"]``; 0 where its label is missing."""
        own = labels[output].long()
        wanted = [related[own.clamp(min=0)] for related in self.related[output]]
        each = torch.stack([-(p * log).sum(1) for p, log in zip(wanted, logs, strict=True)]).sum(0)
        return torch.where(own >= 0, each, torch.zeros_like(each))
