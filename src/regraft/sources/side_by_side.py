"""Several trunks as one: they run side by side, and their pooled features stand one behind the other."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, overload

import torch
from torch import Tensor, nn

from regraft.core.inputs import Batch
from regraft.core.preprocessing import ImagePreprocessing, Preprocessing
from regraft.sources.example import example_of
from regraft.sources.fitting import Fit
from regraft.sources.trunk import Block, Trunk

Shape = tuple[int, ...]
"""Of one part's activation, without its first dimension."""


class SideBySide(Trunk):
    """A trunk made of trunks: ``forward(inputs)`` gives ``Float[Tensor, "pieces sum(widths)"]``.

    Its blocks go through all parts at once, counted from the head: the last one is every part's last, the
    first one holds what a longer part has more. Between two blocks the parts' activations are carried as one
    tensor: behind each other in the last dimension where they are tokens or pooled, else flattened.

    Parameters
    ----------
    parts
        The trunks, each reading what its :class:`Fit` makes of the pixels.
    fits
        One for each part; none of texts.
    """

    def __init__(self, parts: Sequence[Trunk], fits: Sequence[Fit]):
        network = nn.Module()
        network.parts = nn.ModuleList(parts)
        self._fits = tuple(fits)
        super().__init__(network, [], sum(part.width for part in parts))

    @property
    def parts(self) -> tuple[Trunk, ...]:
        """The trunks that stand side by side."""
        return _parts_of(self.network)

    def reading(self, steps: Preprocessing) -> Trunk:
        """See :meth:`Trunk.reading`; what the inputs look like also says where all parts can be cut."""
        for number, part in enumerate(self.parts):
            fits = isinstance(steps, ImagePreprocessing)
            part.reading(_resized(steps, self._fits[number]) if fits else steps)
        self._written = _Chain(self.network, self._fits, steps)
        return self

    def forward(self, inputs: Batch) -> Tensor:
        """Pooled features of every piece; no block has to be looked for."""
        pairs = zip(self.parts, _seen_by(self._fits, inputs, len(self.parts)), strict=True)
        return torch.cat([part(own) for part, own in pairs], 1)

    def hold_blocks(self) -> None:
        """See :meth:`Trunk.hold_blocks`."""
        for part in self.parts:
            part.hold_blocks()

    def release_blocks(self) -> None:
        """See :meth:`Trunk.release_blocks`."""
        for part in self.parts:
            part.release_blocks()

    @property
    def users(self) -> dict[str, frozenset[str]]:
        """See :attr:`Trunk.users`."""
        return {
            f"{_place(number)}.{path}": frozenset(self._holding(number, name) for name in names)
            for number, part in enumerate(self.parts)
            for path, names in part.users.items()
        }

    def chance(self, *, cut: int) -> str | None:
        """See :meth:`Trunk.chance`."""
        stops = self._levels[cut - 1].stops if cut else (0,) * len(self.parts)
        found = (part.chance(cut=stop) for part, stop in zip(self.parts, stops, strict=True))
        return next((said for said in found if said is not None), None)

    def cut_after(self, name: str) -> int:
        """See :meth:`Trunk.cut_after`: each part's cut is proven where its chain was found."""
        cut = super().cut_after(name)
        for part, stop in zip(self.parts, self._levels[cut - 1].stops, strict=True):
            part.cut_after(part.block_names[stop - 1])
        return cut

    @property
    def _levels(self) -> list[Level]:
        return [block.run.args[0] for block in self._written]  # type: ignore[attr-defined]

    def _holding(self, number: int, name: str) -> str:
        """The block that runs a part's block."""
        place = self.parts[number].block_names.index(name) + 1
        pairs = zip(self.block_names, self._levels, strict=True)
        return next(own for own, level in pairs if place <= level.stops[number])


@dataclass(frozen=True)
class Packing:
    """How the activations of all parts are one tensor.

    Attributes
    ----------
    shapes
        Of each part's activation.
    flat
        Whether they are flattened first; else they are joined in their last dimension.
    """

    shapes: tuple[Shape, ...]
    flat: bool

    def pack(self, activations: Sequence[Tensor]) -> Tensor:
        """All parts' activations as one tensor, first dimension the pieces."""
        if self.flat:
            return torch.cat([one.flatten(1) for one in activations], 1)
        return torch.cat(list(activations), -1)

    def unpack(self, activation: Tensor) -> list[Tensor]:
        """Each part's own, as it was packed."""
        if not self.flat:
            return list(activation.split([shape[-1] for shape in self.shapes], -1))
        found = activation.split([torch.Size(shape).numel() for shape in self.shapes], 1)
        return [one.reshape(-1, *shape) for one, shape in zip(found, self.shapes, strict=True)]


@dataclass(frozen=True)
class Level:
    """One block of the whole: which blocks of each part it runs, and how activations come and go."""

    starts: tuple[int, ...]
    stops: tuple[int, ...]
    before: Packing | None
    after: Packing
    fits: tuple[Fit, ...]


def _run(level: Level, network: nn.Module, activation: Tensor | None, inputs: Batch) -> Tensor:
    parts = _parts_of(network)
    given: Sequence[Tensor | None] = [None] * len(parts)
    if level.before is not None:
        assert activation is not None
        given = level.before.unpack(activation)
    seen = _seen_by(level.fits, inputs, len(parts))
    found = [
        part.between(own, batch, start=start, stop=stop)
        for part, own, batch, start, stop in zip(parts, given, seen, level.starts, level.stops, strict=True)
    ]
    return level.after.pack(found)


def _seen_by(fits: Sequence[Fit], inputs: Batch, count: int) -> list[Batch]:
    """The batch as each part sees it."""
    return [_Fitted(inputs, fit) for fit in fits] if fits else [inputs] * count


class _Fitted(Mapping[str, Tensor]):
    """A batch as one part sees it; pixels are fitted when they are asked for."""

    def __init__(self, inputs: Batch, fit: Fit):
        self._inputs, self._fit = inputs, fit

    def __getitem__(self, name: str) -> Tensor:
        return self._fit(self._inputs[name]) if name == "pixels" else self._inputs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._inputs)

    def __len__(self) -> int:
        return len(self._inputs)


class _Chain(Sequence[Block]):
    """The blocks of trunks that stand side by side, found when they are first asked for."""

    def __init__(self, network: nn.Module, fits: tuple[Fit, ...], steps: Preprocessing):
        self._network, self._fits, self._steps = network, fits, steps

    @cached_property
    def _found(self) -> tuple[Block, ...]:
        return tuple(_blocks(_parts_of(self._network), self._fits, self._steps))

    def __len__(self) -> int:
        return len(self._found)

    @overload
    def __getitem__(self, place: int) -> Block: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Block]: ...
    def __getitem__(self, place: int | slice) -> Block | Sequence[Block]:
        return self._found[place]


def _blocks(parts: Sequence[Trunk], fits: tuple[Fit, ...], steps: Preprocessing) -> Iterator[Block]:
    names = [part.block_names for part in parts]
    ends = [tuple(len(own) - behind for own in names) for behind in range(min(map(len, names)))][::-1]
    packings = _packings(parts, fits, steps, ends)
    starts, before = (0,) * len(parts), None
    for stops, after in zip(ends, packings, strict=True):
        if after is None:
            continue
        last = dict.fromkeys(own[stop - 1] for own, stop in zip(names, stops, strict=True))
        owns = [
            f"{_place(number)}.{prefix}".rstrip(".")
            for number, (part, start, stop) in enumerate(zip(parts, starts, stops, strict=True))
            for block in part.blocks[start:stop]
            for prefix in block.owns
        ]
        yield Block("+".join(last), partial(_run, Level(starts, stops, before, after, fits)), tuple(owns))
        starts, before = stops, after


def _packings(
    parts: Sequence[Trunk], fits: tuple[Fit, ...], steps: Preprocessing, ends: Sequence[tuple[int, ...]]
) -> list[Packing | None]:
    """How activations are carried after each of ``ends``; None where there is no way."""
    pooled = Packing(tuple((part.width,) for part in parts), flat=False)
    try:
        shapes = [
            _shapes(
                part, _resized(steps, fits[number]) if fits else steps, [end[number] for end in ends[:-1]]
            )
            for number, part in enumerate(parts)
        ]
    except RuntimeError:  # a network that made-up numbers stop is one block
        return [*[None] * (len(ends) - 1), pooled]
    return [*(_packing(together, bool(fits)) for together in zip(*shapes, strict=True)), pooled]


def _packing(shapes: tuple[Shape, ...], fixed: bool) -> Packing | None:
    """``fixed``: no shape follows the length of the inputs, as those of tokens do."""
    if len({shape[:-1] for shape in shapes}) == 1 and len(shapes[0]) < 3:
        return Packing(shapes, flat=False)
    return Packing(shapes, flat=True) if fixed else None


def _shapes(part: Trunk, steps: Preprocessing, cuts: Sequence[int]) -> list[Shape]:
    """Shapes of a part's activations: without numbers where it runs so, else with zeros for weights."""
    try:
        return _try_shapes(part, steps, cuts, torch.device("meta"))
    except RuntimeError:  # masks of texts look at their values
        return _try_shapes(part, steps, cuts, torch.device("cpu"))


def _try_shapes(part: Trunk, steps: Preprocessing, cuts: Sequence[int], place: torch.device) -> list[Shape]:
    bare = _without_values(part, place).eval()
    activation, start, found = None, 0, []
    with torch.no_grad(), place:
        batch = {name: tensor.to(place) for name, tensor in example_of(steps).items()}
        for cut in cuts:
            activation = bare.between(activation, batch, start=start, stop=cut)
            found.append(tuple(activation.shape[1:]))
            start = cut
    return found


def _without_values(part: Trunk, place: torch.device) -> Trunk:
    """A copy whose tensors take no memory: parameters are zeros, buffers too where they have no values."""
    memo: dict[int, Any] = {id(one): nn.Parameter(_hollow(one, place), False) for one in part.parameters()}
    bare = place.type == "meta"
    memo.update({id(one): _hollow(one, place) for one in part.buffers() if bare or one.is_meta})
    return copy.deepcopy(part, memo)


def _hollow(tensor: Tensor, place: torch.device) -> Tensor:
    return torch.zeros((), dtype=tensor.dtype, device=place).expand(tensor.shape)


def _parts_of(network: nn.Module) -> tuple[Trunk, ...]:
    parts = network.parts
    assert isinstance(parts, nn.ModuleList)
    return tuple(part for part in parts if isinstance(part, Trunk))


def _place(number: int) -> str:
    """Where a part's network stands in the whole."""
    return f"parts.{number}.network"


def _resized(steps: Preprocessing, fit: Fit) -> Preprocessing:
    from dataclasses import replace

    assert isinstance(steps, ImagePreprocessing)
    return replace(steps, size=fit.size)
