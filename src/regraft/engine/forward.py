"""Running a model whose prefix may be frozen and kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from regraft.core.inputs import Batch, Inputs, View
from regraft.engine.frozen import Frozen
from regraft.engine.mixing import Portion
from regraft.engine.suffix_compile import CompiledSuffix
from regraft.inference import LazyBatch, evaluating, pieces_of
from regraft.linking import Grafted, pool_pieces


@dataclass(frozen=True)
class Forward:
    """A model, its inputs and, for a frozen prefix, what keeps its activations.

    Where gradients are wanted a compiled ``suffix`` stands in for the trunk behind the cut.

    Attributes
    ----------
    frozen
        None where there is no frozen prefix, or where nothing that it gives can be kept.
    cut
        Number of blocks in it; where nothing is kept they are run at every step, in ``eval`` mode.
    """

    model: Grafted
    inputs: Inputs
    device: torch.device
    frozen: Frozen | None = None
    suffix: CompiledSuffix | None = None
    cut: int = 0

    def __call__(
        self,
        examples: np.ndarray,
        *,
        view: View | None = None,
        made: Callable[[], Batch] | None = None,
        portion: Portion | None = None,
    ) -> dict[str, Tensor]:
        """Every head's output, ``Float[Tensor, "examples K"]`` by output name.

        ``made`` gives the examples' batch where somebody else makes it, as a :class:`Reader` does. The
        ``portion`` whose examples they are says how they are mixed; outputs are those of its own ones.
        """
        portion = portion or Portion(examples, len(examples))
        everything, _ = pieces_of(self.inputs, examples)

        def read() -> Batch:
            batch = made() if made is not None else self.inputs.batch(everything, view=view)
            return {name: tensor.to(self.device) for name, tensor in batch.items()}

        plain = LazyBatch(read)
        activation = self.activation(examples, view, plain)
        if activation is not None and not portion.late:
            activation = portion.mix(activation)
        left = examples if portion.late else portion.own
        pieces, positions = pieces_of(self.inputs, left)
        owners = torch.from_numpy(positions).to(self.device)
        weights = torch.from_numpy(np.asarray(self.inputs.weights)[pieces]).to(self.device)
        mix = portion.mix if portion.late else None
        batch = plain if portion.late else LazyBatch(lambda: portion.mix_batch(plain))
        cut = self.cut
        if self.suffix is not None and torch.is_grad_enabled() and self.suffix.cut == cut:
            found = self.suffix(activation, batch)
            pooled = pool_pieces(found, owners, weights, len(left))
            return self.model.head_outputs(pooled if mix is None else mix(pooled))
        return self.model.outputs_from(activation, batch, owners, weights, len(left), cut=cut, mix=mix)

    def activation(self, examples: np.ndarray, view: View | None, batch: Batch) -> Tensor | None:
        """What the frozen prefix gives for every piece of these examples; None where there is no prefix."""
        if self.frozen is not None:
            return self.frozen.activations(examples, view).to(self.device)
        with evaluating(self.model.trunk), torch.no_grad():
            return self.model.trunk.prefix(batch, cut=self.cut) if self.cut else None
