"""The supervised term: each task's own loss on labelled examples, smoothed or weighted where asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from regraft.core.errors import PlanError
from regraft.tasks import Task
from regraft.terms.term import StepContext, Term, TermValue

Cost = Callable[[Tensor, Tensor], Tensor]
"""From logits and labels to the loss of each example, 0 where the label is missing."""

_CLASSES = ("binary", "multiclass")
_MISSING = -1


class Supervised(Term):
    """Mean over labelled examples of each output's loss, summed over outputs.

    ``L = sum_o  1/|{i: y_io known}|  sum_i  loss_o(f_o(x_i), y_io)``. Reads one model and one stream.

    Options, for outputs with classes:

    - ``smoothing`` e (label smoothing, Szegedy et al. 2016) and ``class_weights`` w. With K classes and
      probabilities p, an example of class y costs ``(1 - e) w_y (-log p_y) + e/K sum_c w_c (-log p_c)``, and
      the sum is divided by that of ``w_y`` over the labelled examples of the batch, as in PyTorch's
      ``cross_entropy``. With e = 0 and equal weights that is the plain mean.
    - ``class_weights`` is a mapping from classes to weights (1 where none is given), or ``balanced``: with
      n_c of the stream's N labelled examples in class c, ``w_c = N / (K n_c)`` (King & Zeng 2001).
    - For a multilabel output ``smoothing`` moves each label towards a half: ``(1 - e) y + e/2``.

    Where examples are mixed in pairs (mixup, CutMix), each costs ``s`` times the loss for its own label plus
    ``1 - s`` times that for its partner's (Zhang et al. 2018); a missing label costs nothing on its side.
    """

    takes: ClassVar[tuple[str, ...]] = ("smoothing", "class_weights")
    reads_labels: ClassVar[bool] = True

    def __init__(self, **given: Any):
        super().__init__(**given)
        self.smoothing = _share(self.options.get("smoothing", 0.0))
        self.class_weights = _weights(self.options.get("class_weights"))

    def check(self, tasks: Mapping[str, Task]) -> None:
        """See :meth:`Term.check`."""
        super().check(tasks)
        for name in self.looked_at(tasks):
            spec = tasks[name].spec
            if self.smoothing and spec.kind == "regression":
                raise PlanError(
                    _wrong_kind("smoothing", name, spec.kind, "binary, multiclass and multilabel")
                )
            if self.class_weights is not None and spec.kind not in _CLASSES:
                raise PlanError(_wrong_kind("class_weights", name, spec.kind, "binary and multiclass"))
        if isinstance(self.class_weights, Mapping):
            classes = [one for name in self.looked_at(tasks) for one in tasks[name].spec.classes]
            strange = [name for name in self.class_weights if name not in classes]
            if strange:
                raise PlanError(
                    f"class_weights names {', '.join(strange)}, and the classes are {', '.join(classes)}"
                )

    def __call__(self, context: StepContext) -> TermValue:
        """See :class:`Term`."""
        model, stream = self.models[0], self.streams[0]
        predicted, labels = context.outputs(model, stream), context.labels[stream]
        partner = context.partners.get(stream)
        parts: list[Tensor] = []
        for name in self.looked_at(context.tasks):
            weight = self._weight(name, context)
            cost = self._cost(context.tasks[name], weight)
            losses = cost(predicted[name], labels[name])
            if partner is not None:
                others = cost(predicted[name], partner.labels[name])
                losses = partner.share * losses + (1 - partner.share) * others
            parts.append(losses / _divisor(name, weight, context, stream))
        per_example = torch.stack(parts).sum(0)
        return TermValue(per_example.sum(), per_example.detach())

    def _cost(self, task: Task, weight: Tensor | None) -> Cost:
        if not self.smoothing and weight is None:
            return task.loss
        if task.spec.kind == "multilabel":
            return lambda logits, labels: task.loss(
                logits, (1 - self.smoothing) * labels + self.smoothing / 2
            )
        return lambda logits, labels: functional.cross_entropy(
            logits,
            labels.long(),
            weight=weight,
            ignore_index=_MISSING,
            reduction="none",
            label_smoothing=self.smoothing,
        )

    def _weight(self, output: str, context: StepContext) -> Tensor | None:
        """The weight of each class of an output, ``Float[Tensor, "K"]``; None where all are equal."""
        if self.class_weights is None:
            return None
        classes = context.tasks[output].spec.classes
        device = context.labels[self.streams[0]][output].device
        if isinstance(self.class_weights, Mapping):
            values = [self.class_weights.get(name, 1.0) for name in classes]
            return torch.tensor(values, dtype=torch.float32, device=device)
        counts = context.frequencies[self.streams[0]][output].to(device)
        balanced = counts.sum() / (len(classes) * counts.clamp(min=1))
        return torch.where(counts > 0, balanced, torch.ones_like(balanced))


def _divisor(output: str, weight: Tensor | None, context: StepContext, stream: str) -> Tensor | int:
    """The sum of the labelled examples' weights over the whole batch."""
    if weight is None:
        return max(context.known[stream][output], 1)
    labels = context.whole[stream][output].to(weight.device).long()
    total = weight[labels[labels != _MISSING]].sum()
    return torch.where(total > 0, total, torch.ones_like(total))


def _share(value: Any) -> float:
    if not isinstance(value, int | float) or not 0 <= value < 1:
        raise PlanError(f"smoothing is a share from 0 up to 1, as 0.1; got {value!r}")
    return float(value)


def _weights(value: Any) -> Mapping[str, float] | str | None:
    if value is None or value == "balanced":
        return None if value is None else "balanced"
    numbers = value.values() if isinstance(value, Mapping) else [None]
    if not all(isinstance(number, int | float) and number >= 0 for number in numbers):
        raise PlanError(
            "class_weights is 'balanced' or a mapping from classes to weights from 0, as {cat: 2.0}; "
            f"got {value!r}"
        )
    return {str(name): float(number) for name, number in value.items()}


def _wrong_kind(option: str, output: str, kind: str, kinds: str) -> str:
    return (
        f"{option} is for {kinds} outputs, and {output!r} is for {kind}: leave it out, or name the outputs "
        "that it is for in a term of their own, as in outputs: [label]"
    )
