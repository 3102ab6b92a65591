"""Running a model whose prefix may be frozen and kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from regraft.core.inputs import Batch, Inputs, View
from regraft.engine.frozen import Frozen
from regraft.engine.mixing import Portion
from regraft.engine.suffix_compile import CompiledSuffix
from regraft.inference import LazyBatch, evaluating, pieces_of
from regraft.linking import Grafted, pool_pieces
from regraft.terms.term import Maps


@dataclass(frozen=True)
class Seen:
    """What one pass of a model gave.

    Attributes
    ----------
    outputs
        By output name, ``Float[Tensor, "examples K"]``.
    features
        What the heads read, ``Float[Tensor, "examples width"]``.
    maps
        Activations of all pieces that were read, by the number of blocks that they stand behind.
    """

    outputs: dict[str, Tensor]
    features: Tensor
    maps: dict[int, Maps] = field(default_factory=dict)

    def float(self) -> Seen:
        """The same in float32."""
        return Seen(
            {name: values.float() for name, values in self.outputs.items()},
            self.features.float(),
            {after: replace(maps, values=maps.values.float()) for after, maps in self.maps.items()},
        )


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
    keep
        The activations after so many blocks come with what is seen.
    kept
        Those that were computed once, by the number of blocks.
    drawn_for
        Whose views it shows, see :class:`regraft.core.inputs.View`.
    """

    model: Grafted
    inputs: Inputs
    device: torch.device
    frozen: Frozen | None = None
    suffix: CompiledSuffix | None = None
    cut: int = 0
    keep: tuple[int, ...] = ()
    kept: Mapping[int, Frozen] = field(default_factory=dict)
    drawn_for: str = ""

    def prepare(self, view: View | None) -> None:
        """Run what is frozen for all examples that are read in a view, the first time that it comes."""
        for frozen in (*self.kept.values(), *([] if self.frozen is None else [self.frozen])):
            frozen.prepare(self._own(view))

    def _own(self, view: View | None) -> View | None:
        return view if view is None or not self.drawn_for else replace(view, drawn_for=self.drawn_for)

    def __call__(
        self,
        examples: np.ndarray,
        *,
        view: View | None = None,
        made: Callable[[], Batch] | None = None,
        portion: Portion | None = None,
    ) -> dict[str, Tensor]:
        """Every head's output, ``Float[Tensor, "examples K"]`` by output name; see :meth:`see`."""
        return self.see(examples, view=view, made=made, portion=portion).outputs

    def see(
        self,
        examples: np.ndarray,
        *,
        view: View | None = None,
        made: Callable[[], Batch] | None = None,
        portion: Portion | None = None,
    ) -> Seen:
        """What one pass over the examples gives.

        ``made`` gives the examples' batch where somebody else makes it, as a :class:`Reader` does. The
        ``portion`` whose examples they are says how they are mixed; outputs are those of its own ones.
        """
        portion, view = portion or Portion(examples, len(examples)), self._own(view)
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
        if self.suffix is not None and torch.is_grad_enabled() and self.suffix.cut == cut and not self.keep:
            pooled = pool_pieces(self.suffix(activation, batch), owners, weights, len(left))
            features = pooled if mix is None else mix(pooled)
            return Seen(self.model.head_outputs(features), features)
        features, outputs, found = self.model.run_from(
            activation, batch, owners, weights, len(left), cut=cut, mix=mix, keep=self.keep
        )
        found |= {after: one.activations(left, view).to(self.device) for after, one in self.kept.items()}
        lengths = self.inputs.lengths
        own = None if lengths is None else torch.from_numpy(np.asarray(lengths)[pieces]).to(self.device)
        return Seen(
            outputs, features, {after: Maps(values, owners, weights, own) for after, values in found.items()}
        )

    def activation(self, examples: np.ndarray, view: View | None, batch: Batch) -> Tensor | None:
        """What the frozen prefix gives for every piece of these examples; None where there is no prefix."""
        if self.frozen is not None:
            return self.frozen.activations(examples, view).to(self.device)
        with evaluating(self.model.trunk), torch.no_grad():
            return self.model.trunk.prefix(batch, cut=self.cut) if self.cut else None
