"""The delta term: the activations of chosen blocks stay near those of the source."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from regraft.core.errors import PlanError
from regraft.terms.term import Maps, StageContext, StepContext, Term, TermValue

TEMPERATURE = 5.0
"""Rises in units of their standard deviation, divided by so much, go into the softmax."""


class Delta(Term):
    """DELTA (Li et al. 2019, "Deep learning transfer using feature map with attention").

    ``L = 1/N sum_i sum_b 1/(2 P_b) sum_c a_bc |F_bc(w, x_i) - F_bc(w^0, x_i)|^2``

    with ``F_bc`` channel c of the activation after block b, of the student and of a model that keeps the
    source's weights w^0, and ``P_b`` its number of places: height x width of a map ``(pieces, channels,
    height, width)``, the tokens that are no padding of a sequence ``(pieces, length, width)``, 1 behind a
    pooling. An example of several pieces has their mean, by their weights. The paper's penalty on new weights
    is the term ``l2sp`` with ``alpha: 0``.

    The attention ``a_b`` (``Float[Tensor, "channels"]``, of mean 1) is learned once, before the first step,
    from how much the loss rises when a channel is removed from the held model, whose heads have to be solved
    (section 3.3):

    ``a_b = C softmax((r_b - mean r_b) / (5 std r_b))``,  ``r_bc = -sum_i <F_bc(x_i), dl_i / dF_bc>``,

    l_i the sum of the tasks' losses of example i, those of missing labels being 0. ``r_bc`` is the rise to
    first order: one pass forward and backward over the training examples, where the paper runs the network
    once for each channel. The paper's softmax of plain rises is nearly flat where these are small beside 1,
    so they are brought to one scale first.

    It reads two models of one network, the student and the one that it is held to, in this order, and one
    stream, labelled where attention is learned. Options: ``blocks``, names of blocks that the stage trains or
    that stand behind such a one; ``attention``, ``equal`` (all a_bc 1, the paper's DELTA without attention)
    or ``learned``.
    """

    takes: ClassVar[tuple[str, ...]] = ("blocks", "attention")
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
        self._how = self.options.get("attention", "equal")
        if self._how not in ("equal", "learned"):
            raise PlanError(f"attention of the term 'delta' is equal or learned; got {self._how!r}")
        self.attention: dict[str, Tensor] = {}
        """By block, where it is learned, what each channel counts, ``Float[Tensor, "channels"]``."""

    @property
    def blocks(self) -> tuple[str, ...]:
        """See :attr:`Term.blocks`."""
        return self._blocks

    def prepare(self, stage: StageContext) -> None:
        """Learn which channels the held model's predictions hang on."""
        if self._how == "learned":
            rises = self._rises(stage)
            self.attention = {block: _attention(rise) for block, rise in rises.items()}

    def _rises(self, stage: StageContext) -> dict[str, Tensor]:
        """By block, how much the loss rises without each channel, ``Float[Tensor, "channels"]``."""
        held, outputs = self.models[1], self.looked_at(stage.tasks)
        stage.must_know(held, outputs)
        rises: dict[str, Tensor] = {}
        for seen in stage.passes(held, self.streams[0], self.blocks):
            if not seen.labels:
                raise PlanError(
                    f"the term 'delta' learns its attention from labels, and the stream {self.streams[0]!r} "
                    "has none: say attention: equal, or read a labelled stream"
                )
            losses = [stage.tasks[name].loss(seen.outputs[name], seen.labels[name]) for name in outputs]
            maps = [seen.maps[block] for block in self.blocks]
            slopes = torch.autograd.grad(torch.stack(losses).sum(), [one.values for one in maps])
            for block, one, slope in zip(self.blocks, maps, slopes, strict=True):
                rises[block] = rises.get(block, 0) - _by_channel(one, one.values.detach() * slope)
        return rises

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
        apart = own.weights * _distances(own, theirs, self.attention.get(block))
        examples = max(count, int(own.owners.max()) + 1)
        # Partners that pooled features are mixed with stand behind the slice's own examples.
        return apart.new_zeros(examples).index_add(0, own.owners, apart)[:count]


def _attention(rises: Tensor) -> Tensor:
    """What each channel counts, 1 in the mean, of how much the loss rises without it."""
    spread = rises.std(correction=0)
    scaled = (rises - rises.mean()) / spread if spread > 0 else torch.zeros_like(rises)
    return len(rises) * (scaled / TEMPERATURE).softmax(0)


def _distances(own: Maps, theirs: Maps, attention: Tensor | None) -> Tensor:
    """Half the squared distance of each piece's activations, over its places: ``Float[Tensor, "pieces"]``."""
    one, other = own.values, theirs.values.detach()
    if one.ndim == 3:  # what was kept may be cut off where padding begins
        length = min(one.shape[1], other.shape[1])
        one, other = one[:, :length], other[:, :length]
    squares = _channels_last((one - other).square())
    each = squares.sum(-1) if attention is None else squares @ attention.to(squares)
    if one.ndim != 3 or own.lengths is None:
        return each.flatten(1).mean(1) / 2
    there = _no_padding(own.lengths, each.shape[1])
    return torch.where(there, each, torch.zeros_like(each)).sum(1) / there.sum(1).clamp(min=1) / 2


def _by_channel(maps: Maps, values: Tensor) -> Tensor:
    """The sum of some values of maps' size over pieces and places, ``Float[Tensor, "channels"]``."""
    if maps.values.ndim == 3 and maps.lengths is not None:
        there = _no_padding(maps.lengths, values.shape[1])[:, :, None]
        values = torch.where(there, values, torch.zeros_like(values))
    return _channels_last(values).flatten(0, -2).sum(0)


def _channels_last(values: Tensor) -> Tensor:
    """Maps with their channels in the last dimension, and at least one dimension of places in front of it."""
    if values.ndim == 2:
        return values[:, None, :]
    last = values.ndim != 4 or values.shape[1] == values.shape[2] != values.shape[3]
    return values if last else values.movedim(1, 3)


def _no_padding(lengths: Tensor, length: int) -> Tensor:
    """``Bool[Tensor, "pieces length"]``: which places of token sequences are no padding."""
    return torch.arange(length, device=lengths.device)[None, :] < lengths[:, None]
