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
from regraft.inference import LazyBatch, pieces_of
from regraft.linking import Grafted, pool_pieces


@dataclass(frozen=True)
class Forward:
    """A model, its inputs and, for a frozen prefix, what keeps its activations.

    Where gradients are wanted a compiled ``suffix`` stands in for the trunk behind the cut.
    """

    model: Grafted
    inputs: Inputs
    device: torch.device
    frozen: Frozen | None = None
    suffix: CompiledSuffix | None = None

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
            moved = {name: tensor.to(self.device) for name, tensor in batch.items()}
            return moved if portion.late else portion.mix_batch(moved)

        cut, activation = 0, None
        if self.frozen is not None:
            cut = self.frozen.cut
            activation = self.frozen.activations(examples, view).to(self.device)
            activation = activation if portion.late else portion.mix(activation)
        left = examples if portion.late else portion.own
        pieces, positions = pieces_of(self.inputs, left)
        owners = torch.from_numpy(positions).to(self.device)
        weights = torch.from_numpy(np.asarray(self.inputs.weights)[pieces]).to(self.device)
        mix = portion.mix if portion.late else None
        batch = LazyBatch(read)
        if self.suffix is not None and torch.is_grad_enabled() and self.suffix.cut == cut:
            found = self.suffix(activation, batch)
            pooled = pool_pieces(found, owners, weights, len(left))
            return self.model.head_outputs(pooled if mix is None else mix(pooled))
        return self.model.outputs_from(activation, batch, owners, weights, len(left), cut=cut, mix=mix)
