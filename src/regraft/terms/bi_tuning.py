"""The bi-tuning term: features of one class are drawn together, and away from those of others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from regraft.core.errors import PlanError
from regraft.terms.options import count, number
from regraft.terms.term import StageContext, StepContext, Term, TermValue

TEMPERATURE, KEYS, DIMENSIONS = 0.07, 8, 128
_CLASSES = ("binary", "multiclass")
_FEATURES, _LABELS = "features", "labels."


class BiTuning(Term):
    """Bi-Tuning (Zhong, You, Wang & Long 2020, "Bi-tuning of pre-trained representations"), without its plain
    cross-entropy, which is the term ``supervised``.

    ``L = 1/N sum_i [ CCE_i + CCL_i ]``, summed over outputs, with K_i the example's own key and those in the
    queue, of which ``P_i`` belong to examples of its class y_i, and N the examples whose label is known:

    - contrastive cross-entropy, the classifier's side: the class looks for its examples,
      ``CCE_i = -1/|P_i| sum_{p in P_i} log exp(w~_y . h~_p / T) / sum_{k in K_i} exp(w~_y . h~_k / T)``,
    - categorical contrastive loss, the projector's: the example looks for those of its class,
      ``CCL_i = -1/|P_i| sum_{p in P_i} log exp(z_i . z_p / T) / sum_{k in K_i} exp(z_i . z_k / T)``.

    ``h`` (``Float[Tensor, "width"]``) are features, ``h~ = (h, 1) / |(h, 1)|``, ``w~_y`` the same of weight
    and bias of class y, ``z = g(h) / |g(h)|`` with g a linear projector that is trained with the student and
    then dropped. Of the example itself CCE reads the student's features; keys come from the key encoder, a
    moving average of the student, and carry no gradient.

    The queue holds features of the newest examples that were trained on, with their labels; it begins empty.
    Changed for small data: it has room for ``keys`` examples of each class (the paper's smallest number), but
    for no more than there are, so that on the whole no example is in it twice; it is one queue for all
    classes, not one each, so that missing labels and several outputs share it. As it is that small it is
    projected anew at every step, and g needs no moving average. The key encoder sees the view that the
    student sees. An example looks at its own key and the queue, never at the rest of its batch: slices of a
    batch add up.

    It reads two models, the student and a moving average of it, in this order, one labelled stream of the
    target, and outputs with exclusive classes. Examples that are mixed in pairs have no class, and are
    refused. Options: ``temperature`` T (0.07), ``keys`` (8), ``dimensions`` of z (128).
    """

    name = "bi-tuning"
    takes: ClassVar[tuple[str, ...]] = ("temperature", "keys", "dimensions")
    reads_labels: ClassVar[bool] = True
    kinds: ClassVar[tuple[str, ...]] = _CLASSES
    reads_models: ClassVar[tuple[int, int]] = (2, 2)
    needs: ClassVar[frozenset[str]] = frozenset({"weights"})

    def __init__(self, **given: Any):
        super().__init__(**given)
        self.temperature = number(self.options, "temperature", TEMPERATURE, positive=True)
        self.keys = count(self.options, "keys", KEYS)
        self.dimensions = count(self.options, "dimensions", DIMENSIONS)
        self._heads: Mapping[str, nn.Module] = {}

    def make_module(self, stage: StageContext) -> nn.Module:
        """The projector."""
        student, key = self.models
        stage.same_width(self.name, student, key)
        return nn.Linear(stage.width(student), self.dimensions)

    def prepare(self, stage: StageContext) -> None:
        """Find the heads whose weights are its classes' queries."""
        self._heads = stage.heads(self.models[0])

    def make_state(self, stage: StageContext) -> dict[str, Tensor]:
        """An empty queue: features ``Float[Tensor, "room width"]``, labels -1."""
        stream, outputs = self.streams[0], self.looked_at(stage.tasks)
        if stream not in stage.examples:
            raise PlanError(
                f"the term 'bi-tuning' reads the stream {stream!r}, and its queue is for the run's own "
                "target: name a stream that reads the target"
            )
        classes = max(stage.tasks[name].outputs for name in outputs)
        room = min(self.keys * classes, stage.examples[stream])
        labels = {_LABELS + name: torch.full((room,), -1) for name in outputs}
        return {_FEATURES: torch.zeros(room, stage.width(self.models[0])), **labels}

    def after_step(self, left: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The newest examples take the places of the oldest."""
        return {name: torch.cat([kept, left[name]])[-len(kept) :] for name, kept in self.state.items()}

    def __call__(self, context: StepContext) -> TermValue:
        """See :class:`Term`."""
        stream, outputs = self.streams[0], self.looked_at(context.tasks)
        if stream in context.partners:
            raise PlanError(
                f"the term 'bi-tuning' contrasts classes, and the examples of {stream!r} are mixed in pairs: "
                f"--set streams.{stream}.mix.mixup=0 --set streams.{stream}.mix.cutmix=0"
            )
        features, keys = (context.features(model, stream) for model in self.models)
        labels, known = context.labels[stream], context.known[stream]
        parts = [
            self._of_output(name, labels[name], features, keys.detach()) / max(known[name], 1)
            for name in outputs
        ]
        per_example = torch.stack(parts).sum(0)
        left = {_FEATURES: keys.detach(), **{_LABELS + name: labels[name].long() for name in outputs}}
        return TermValue(per_example.sum(), per_example.detach(), left)

    def _of_output(self, output: str, labels: Tensor, features: Tensor, keys: Tensor) -> Tensor:
        """What each example adds for an output, ``Float[Tensor, "examples"]``; 0 where its label is
        missing.
        """
        assert self.own is not None
        queue, theirs = self.state[_FEATURES], self.state[_LABELS + output]
        with torch.no_grad():
            own, others = _unit(self.own(keys)), _unit(self.own(queue))
        sides = (
            (_unit(self._classes(output)[labels.long().clamp(min=0)]), _with_one(features), _with_one(queue)),
            (_unit(self.own(features)), own, others),
        )
        losses = [self._contrast(*side, labels, theirs) for side in sides]
        return torch.where(labels >= 0, losses[0] + losses[1], torch.zeros_like(losses[0]))

    def _classes(self, output: str) -> Tensor:
        """Weight and bias of each class, ``Float[Tensor, "K width+1"]``."""
        head = self._heads[output]
        if not isinstance(head, nn.Linear):
            raise PlanError(
                f"the term 'bi-tuning' reads the weights of classes, and the head of {output!r} is not "
                "linear: solve it by ridge or logistic"
            )
        return torch.cat([head.weight, head.bias[:, None]], dim=1)

    def _contrast(self, query: Tensor, own: Tensor, queue: Tensor, labels: Tensor, theirs: Tensor) -> Tensor:
        """Cross-entropy of finding what is of the same class, ``Float[Tensor, "examples"]``.

        Rows of unit length: the queries, each one's own key, and the queue, whose labels are ``theirs``.
        """
        near = torch.cat([(query * own).sum(1, keepdim=True), query @ queue.T], dim=1) / self.temperature
        first = torch.ones_like(labels, dtype=torch.bool)[:, None]
        there = torch.cat([first, (theirs >= 0).expand(len(labels), -1)], dim=1)
        same = torch.cat([first, labels[:, None] == theirs[None, :]], dim=1) & there
        logs = near.masked_fill(~there, -torch.inf).log_softmax(1)
        return -logs.masked_fill(~same, 0.0).sum(1) / same.sum(1)


def _unit(rows: Tensor) -> Tensor:
    return functional.normalize(rows, dim=1)


def _with_one(features: Tensor) -> Tensor:
    return _unit(torch.cat([features, torch.ones_like(features[:, :1])], dim=1))
