"""The bss term: directions of the features that carry next to nothing are shrunk away."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from regraft.core.errors import PlanError
from regraft.terms.term import StepContext, Term, TermValue


class BSS(Term):
    """Batch spectral shrinkage (Chen et al. 2019, "Catastrophic forgetting meets negative transfer").

    ``L = sum_{i=1..k} sigma_{-i}(F)^2``

    with F the pooled features of a batch, ``Float[Tensor, "batch width"]``, and ``sigma_{-i}`` the i-th
    smallest of its min(batch, width) singular values. It reads one model and one stream, and no label. The
    paper's weight for it is 0.001.

    Options: ``k`` (1, as in the paper).

    Singular values are those of a batch as a whole: where a batch is computed in slices, or by several
    processes, each slice has its own, and the term is their mean, weighted by their sizes.
    """

    name = "bss"
    takes: ClassVar[tuple[str, ...]] = ("k",)

    def __init__(self, **given: Any):
        super().__init__(**given)
        self.k = self.options.get("k", 1)
        if isinstance(self.k, bool) or not isinstance(self.k, int) or self.k < 1:
            raise PlanError(
                f"k is how many singular values are shrunk, a whole number from 1; got {self.k!r}"
            )

    def __call__(self, context: StepContext) -> TermValue:
        """See :class:`Term`."""
        stream = self.streams[0]
        features = context.features(self.models[0], stream)
        smallest = torch.linalg.svdvals(features.float())[-self.k :]
        return TermValue.of_batch(smallest.square().sum(), context, stream)
