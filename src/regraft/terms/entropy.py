"""The entropy term: predictions on examples without labels are made sure."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from regraft.terms.term import StepContext, Term, TermValue


class Entropy(Term):
    """Entropy minimisation (Grandvalet & Bengio 2004): mean entropy of the predictions, summed over outputs.

    ``L = sum_o 1/N sum_i H(p_o(x_i))`` with ``H(p) = -sum_c p_c log p_c`` over the classes of an output;
    for a multilabel output, the mean over labels of each one's own entropy. N is the size of the batch. It
    reads no label, one model and one stream; outputs of numbers have no entropy and are refused.
    """

    kinds: ClassVar[tuple[str, ...]] = ("binary", "multiclass", "multilabel")

    def __call__(self, context: StepContext) -> TermValue:
        """See :class:`Term`."""
        predicted = context.outputs(self.models[0], self.streams[0])
        parts = [
            _entropies(predicted[name], context.tasks[name].spec.kind)
            for name in self.looked_at(context.tasks)
        ]
        per_example = torch.stack(parts).sum(0) / max(context.sizes[self.streams[0]], 1)
        return TermValue(per_example.sum(), per_example.detach())


def _entropies(logits: Tensor, kind: str) -> Tensor:
    """Entropy of each prediction in nats, ``Float[Tensor, "batch"]``."""
    if kind == "multilabel":
        # H = softplus(z) - z sigmoid(z), which stays finite for any z.
        return (functional.softplus(logits) - logits * logits.sigmoid()).mean(dim=1)
    logs = logits.log_softmax(dim=1)
    return -(logs.exp() * logs).sum(dim=1)
