"""The supervised term: each task's own loss on labelled examples."""

from __future__ import annotations

import torch
from torch import Tensor

from regraft.terms.term import StepContext, Term, TermValue


class Supervised(Term):
    """Mean over labelled examples of each output's loss, summed over outputs.

    ``L = sum_o  1/|{i: y_io known}|  sum_i  loss_o(f_o(x_i), y_io)``. Reads one model and one stream.
    """

    def __call__(self, context: StepContext) -> TermValue:
        """See :class:`Term`."""
        model, stream = self.models[0], self.streams[0]
        predicted, labels = context.outputs(model, stream), context.labels[stream]
        parts: list[Tensor] = []
        for name in self.outputs or tuple(context.tasks):
            task = context.tasks[name]
            losses = task.loss(predicted[name], labels[name])
            parts.append(losses / max(context.known[stream][name], 1))
        per_example = torch.stack(parts).sum(0)
        return TermValue(per_example.sum(), per_example.detach())
