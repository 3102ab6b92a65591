"""Mixing examples in pairs: mixup and CutMix, as a function of (seed, stream, step).

Every example of a mixed batch is ``share`` itself and ``1 - share`` its partner; partners are a permutation
of the whole batch, so slices of a batch give the mixture that the whole one gives.

- mixup (Zhang et al. 2018): ``s x_i + (1 - s) x_j`` with ``s ~ Beta(alpha, alpha)``, one for each batch.
- CutMix (Yun et al. 2019): a rectangle of x_j is pasted into x_i; s is the area that is left of x_i, counted
  in whole places of the grid that it acts on.

Where they act:

- on the inputs, where those are numbers and every layer is computed in each step;
- on the activations behind a frozen prefix, whether they are kept or the prefix has to be run at every step:
  manifold mixup at a fixed layer (Verma et al. 2019). CutMix then cuts the maps; where the activation is no
  map it is refused;
- on the pooled features of each example, where the inputs are words: words have no mean (mixup of sentences,
  Guo et al. 2019). A slice then computes the partners' features beside its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from regraft.core.errors import PlanError
from regraft.core.inputs import Batch
from regraft.core.randomness import numpy_generator
from regraft.plans import MixSpec

Box = tuple[int, int, int, int]
"""First and last row, first and last column, the last ones excluded."""


@dataclass(frozen=True)
class Mixture:
    """How one batch is mixed.

    Attributes
    ----------
    share
        Of each example that is its own.
    partners
        ``int64 (batch,)``, a permutation: the place in the batch of each example's partner.
    box
        What CutMix pastes; None for mixup.
    axes
        The dimensions of height and width in the maps that it cuts.
    """

    share: float
    partners: np.ndarray
    box: Box | None = None
    axes: tuple[int, int] = (2, 3)


@dataclass(frozen=True)
class Mixer:
    """Draws a stream's mixtures.

    Attributes
    ----------
    late
        Whether pooled features are mixed, and not what the network or its trained part reads.
    grid
        Height and width of the maps that CutMix cuts; None where it is off.
    axes
        Their dimensions.
    """

    spec: MixSpec
    seed: int
    stream: str
    late: bool
    grid: tuple[int, int] | None
    axes: tuple[int, int] = (2, 3)

    def at(self, step: int, count: int) -> Mixture | None:
        """The mixture of a step's batch of ``count`` examples; None where it stays as it is."""
        chance = numpy_generator(self.seed, "mix", self.stream, step)
        mixes, kind = chance.random(2)
        if mixes >= self.spec.share or count < 2:
            return None
        cuts = bool(self.spec.cutmix) and (not self.spec.mixup or kind < 0.5)
        alpha = self.spec.cutmix if cuts else self.spec.mixup
        share, partners = float(chance.beta(alpha, alpha)), chance.permutation(count)
        if not cuts:
            return Mixture(share, partners)
        assert self.grid is not None
        share, box = _cut(share, self.grid, chance.random(2))
        return Mixture(share, partners, box, self.axes)


def _cut(share: float, grid: tuple[int, int], centre: np.ndarray) -> tuple[float, Box]:
    """What is left of a map without a rectangle of ``1 - share`` of it about a centre, and that rectangle,
    clipped at the borders.
    """
    sides = []
    for length, place in zip(grid, centre, strict=True):
        half = length * math.sqrt(1 - share) / 2
        middle = place * length
        sides.append((max(round(middle - half), 0), min(round(middle + half), length)))
    (top, bottom), (left, right) = sides
    area = (bottom - top) * (right - left) / (grid[0] * grid[1])
    return 1 - area, (top, bottom, left, right)


@dataclass(frozen=True)
class Portion:
    """What is read for one slice of a step's batch.

    Attributes
    ----------
    examples
        All that is read: the slice's own examples, and where they are mixed their partners behind them.
    count
        How many of them are the slice's own.
    rows
        Where in ``examples`` each one's partner is; None where nothing is mixed.
    """

    examples: np.ndarray
    count: int
    mixture: Mixture | None = None
    rows: np.ndarray | None = None
    late: bool = False

    @property
    def own(self) -> np.ndarray:
        """The slice's own examples."""
        return self.examples[: self.count]

    @property
    def partners(self) -> np.ndarray:
        """The partner of each of them."""
        assert self.rows is not None
        return self.examples[self.rows]

    def mix(self, values: Tensor) -> Tensor:
        """Mixed values of the slice's own examples, of values of all that was read; a row for each."""
        if self.mixture is None:
            return values
        assert self.rows is not None
        own, others = values[: self.count], values[torch.from_numpy(self.rows).to(values.device)]
        if self.mixture.box is None:
            return self.mixture.share * own + (1 - self.mixture.share) * others
        top, bottom, left, right = self.mixture.box
        place = [slice(None)] * 4
        rows, columns = self.mixture.axes
        place[rows], place[columns] = slice(top, bottom), slice(left, right)
        mixed = own.clone()
        mixed[tuple(place)] = others[tuple(place)]
        return mixed

    def mix_batch(self, batch: Batch) -> dict[str, Tensor]:
        """The same for each tensor of a batch."""
        return {name: self.mix(values) for name, values in batch.items()}


def portion_of(
    batch: np.ndarray, own: np.ndarray, places: np.ndarray, mixture: Mixture, late: bool
) -> Portion:
    """What a slice reads: ``own`` are its examples, ``places`` their places in the whole ``batch``."""
    partners = mixture.partners[places]
    if len(own) == len(batch):
        return Portion(own, len(own), mixture, partners, late)
    rows = len(own) + np.arange(len(own))
    return Portion(np.concatenate([own, batch[partners]]), len(own), mixture, rows, late)


def map_axes(values: Tensor, channels: int | None) -> tuple[int, int] | None:
    """Which of four dimensions are height and width: those that are not ``channels``.

    Where that is not known, the two that make a square, if only two do; else None.
    """
    if channels is not None:
        return (1, 2) if channels == 3 else (2, 3) if channels == 1 else None
    first, second, third = values.shape[1:]
    if second == third != first:
        return (2, 3)
    return (1, 2) if first == second != third else None


def open_mixer(
    spec: MixSpec,
    stream: str,
    seed: int,
    batch: Batch,
    activation: Tensor | None,
    pieces: int,
    *,
    channels: int | None = None,
) -> Mixer | None:
    """What mixes a stream, decided by what one example looks like; None where the plan mixes nothing.

    Parameters
    ----------
    batch, activation
        The inputs of one piece, and what a frozen prefix gives for it, if there is one.
    pieces
        The largest number of pieces that an example of the stream has.
    channels
        The dimension of the activation that holds channels, where the network tells; images have them first.

    Raises
    ------
    PlanError
        Where CutMix is asked for and there are no maps to cut.
    """
    if not spec.mixup and not spec.cutmix:
        return None
    numbers = all(values.is_floating_point() for values in batch.values())
    late = not numbers or pieces > 1
    if not spec.cutmix:
        return Mixer(spec, seed, stream, late, None)
    what = next(iter(batch.values())) if activation is None else activation
    shape = "x".join(str(size) for size in what.shape[1:])
    place = "the inputs are" if activation is None else "the frozen prefix ends with"
    if late or what.ndim != 4:
        raise PlanError(
            f"cutmix of the stream {stream!r} cuts maps, and {place} no maps ({shape or 'a number'}): use "
            f"mixup instead (--set streams.{stream}.mix.cutmix=0 --set streams.{stream}.mix.mixup=0.2)"
            + ("" if activation is None else ", or freeze fewer blocks (--set frozen_prefix=BLOCK)")
        )
    axes = map_axes(what, 1 if activation is None else channels)
    if axes is None:
        raise PlanError(
            f"cutmix of the stream {stream!r} cuts maps, and {place} {shape}, of which neither the network "
            "nor the sizes say what is height, width and channels: use mixup instead "
            f"(--set streams.{stream}.mix.cutmix=0 --set streams.{stream}.mix.mixup=0.2), or freeze up to "
            "another block (--set frozen_prefix=BLOCK)"
        )
    grid = (int(what.shape[axes[0]]), int(what.shape[axes[1]]))
    if min(grid) < 2:
        raise PlanError(
            f"cutmix of the stream {stream!r} needs maps of 2x2 places at least, and {place} maps of "
            f"{grid[0]}x{grid[1]}: freeze fewer blocks (--set frozen_prefix=BLOCK), or use mixup instead"
        )
    return Mixer(spec, seed, stream, late, grid, axes)
