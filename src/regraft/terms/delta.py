"""The delta term: the activations of chosen blocks stay near those of the source."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from regraft.core.errors import PlanError
from regraft.terms.term import Maps, StepContext, Term, TermValue


class Delta(Term):
    """DELTA (Li et al. 2019, "Deep learning transfer using feature map with attention"), equal attention.

    ``L = 1/N sum_i sum_b 1/(2 P_b) |F_b(w, x_i) - F_b(w^0, x_i)|^2``

    with ``F_b`` the activation after block b, of the student and of a model that keeps the source's weights
    w^0, and ``P_b`` its number of places: height x width of a map ``(pieces, channels, height, width)``, the
    tokens that are no padding of a sequence ``(pieces, length, width)``, 1 behind a pooling. An example of
    several pieces has their mean, by their weights. Channels count alike: the paper's DELTA without
    attention. Its penalty on new weights is the term ``l2sp`` with ``alpha: 0``.

    It reads two models of one network, the student and the one that it is held to, in this order, one stream
    and no label. Options: ``blocks``, names of blocks that the stage trains or that stand behind
    such a one.
    """

    takes: ClassVar[tuple[str, ...]] = ("blocks",)
    reads_models: ClassVar[tuple[int, int]] = (2, 2)

    def __init__(self, **given: Any):
        super().__init__(**given)
        named = self.options.get("blocks")
        self._blocks = (named,) if isinstance(named, str) else tuple(named or ())
        if not self._blocks or not all(isinstance(one, str) for one in self._blocks):
            raise PlanError(
                "the term 'delta' wants the blocks whose activations are compared, as in options: {blocks: "
                f"[blocks.14, blocks.15]}}; got {named!r}"
            )

    @property
    def blocks(self) -> tuple[str, ...]:
        """See :attr:`Term.blocks`."""
        return self._blocks

    def __call__(self, context: StepContext) -> TermValue:
        """See :class:`Term`."""
        stream = self.streams[0]
        count = context.counts[stream]
        each = [self._of_block(context, block, stream, count) for block in self.blocks]
        per_example = torch.stack(each).sum(0) / max(context.sizes[stream], 1)
        return TermValue(per_example.sum(), per_example.detach())

    def _of_block(self, context: StepContext, block: str, stream: str, count: int) -> Tensor:
        """How far the activations of each example are apart after a block, ``Float[Tensor, "examples"]``."""
        own, theirs = (context.maps(model, stream, block) for model in self.models)
        apart = own.weights * _distances(own, theirs)
        examples = max(count, int(own.owners.max()) + 1)
        # Partners that pooled features are mixed with stand behind the slice's own examples.
        return apart.new_zeros(examples).index_add(0, own.owners, apart)[:count]


def _distances(own: Maps, theirs: Maps) -> Tensor:
    """Half the squared distance of each piece's activations, over its places: ``Float[Tensor, "pieces"]``."""
    one, other = own.values, theirs.values.detach()
    if one.ndim == 3:
        return _of_tokens(one, other, own.lengths)
    squares = (one - other).square()
    if one.ndim != 4:
        return squares.flatten(1).sum(1) / 2
    channels_last = one.shape[1] == one.shape[2] != one.shape[3]
    return squares.sum(3 if channels_last else 1).flatten(1).mean(1) / 2


def _of_tokens(one: Tensor, other: Tensor, lengths: Tensor | None) -> Tensor:
    # What was kept may be cut off where padding begins.
    length = min(one.shape[1], other.shape[1])
    squares = (one[:, :length] - other[:, :length]).square().sum(2)
    if lengths is None:
        return squares.mean(1) / 2
    places = torch.arange(length, device=squares.device)[None, :]
    there = places < lengths[:, None]
    return torch.where(there, squares, torch.zeros_like(squares)).sum(1) / there.sum(1).clamp(min=1) / 2
