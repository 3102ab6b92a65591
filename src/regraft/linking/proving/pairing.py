"""Pairing the steps of two watched networks by the link's rows, and finding where they part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from regraft.linking.network import Network
from regraft.linking.proving.compare import located_difference
from regraft.linking.proving.watching import Run, Step
from regraft.linking.row import Row

Places = Mapping[str, tuple[str, ...]]
"""For each tensor of the target's network those of the source's network that it is made of."""


@dataclass(frozen=True)
class Pair:
    """A step of the target, the step of the source whose tensors it has, and how far apart they are.

    Attributes
    ----------
    entering, leaving
        Relative differences of what enters and leaves the two; None where they cannot be compared.
    """

    target: Step
    source: Step
    entering: float | None
    leaving: float | None

    def departs(self, tolerance: float) -> bool:
        """Whether what enters or what leaves differs."""
        return not (_agrees(self.entering, tolerance) and _agrees(self.leaving, tolerance))


def _agrees(difference: float | None, tolerance: float) -> bool:
    return difference is None or difference <= tolerance


def place_tensors(rows: Iterable[Row], source: Network, target: Network) -> dict[str, tuple[str, ...]]:
    """See :data:`Places`; fresh tensors, and those of keys that the source's network lacks, are left out."""
    homes: dict[str, str] = {}
    for name, key in source.keys.items():
        homes.setdefault(key, name)
    by_slot = {row.target: row for row in rows if row.carried}
    places = {}
    for name, slot in target.keys.items():
        row = by_slot.get(slot)
        if row is not None and all(key in homes for key in row.sources):
            places[name] = tuple(homes[key] for key in row.sources)
    return places


def list_mixed(rows: Mapping[str, Row]) -> frozenset[str]:
    """Tensors that are put together, cut or folded: what leaves their modules differs by itself."""
    plain = {"permute", "reshape"}
    return frozenset(
        name
        for name, row in rows.items()
        if row.recipe is not None and not {step.name for step in row.recipe.steps} <= plain
    )


def pair_steps(
    source: Run,
    target: Run,
    places: Places,
    mask: Tensor | None = None,
    mixed: frozenset[str] = frozenset(),
) -> tuple[Pair, ...]:
    """Every step of the target that has tensors of a step of the source, in the target's order.

    What leaves the modules of ``mixed`` tensors is not compared.
    """
    owners: dict[str, list[Step]] = {}
    for step in source.steps:
        for name in step.names:
            owners.setdefault(name, []).append(step)
    found = []
    for step in target.steps:
        other = _other(step, owners, places)
        if other is not None:
            entering = _difference(step.entering, other.entering, mask)
            leaving = None if mixed & set(step.names) else _difference(step.leaving, other.leaving, mask)
            found.append(Pair(step, other, entering, leaving))
    return tuple(found)


def _other(step: Step, owners: Mapping[str, list[Step]], places: Places) -> Step | None:
    """The source's step that most of the tensors come from, called as often before."""
    votes: Counter[str] = Counter()
    calls: dict[str, Step] = {}
    for name in step.names:
        for origin in places.get(name, ()):
            for owner in owners.get(origin, ()):
                if owner.time == step.time:
                    votes[owner.path] += 1
                    # A module that reads its children's tensors has two steps: the one that owns this tensor.
                    calls.setdefault(owner.path, owner)
    return calls[votes.most_common(1)[0][0]] if votes else None


def _difference(ours: Tensor | None, theirs: Tensor | None, mask: Tensor | None) -> float | None:
    if ours is None or theirs is None:
        return None
    return located_difference(keep_unmasked(ours, mask), keep_unmasked(theirs, mask))


def keep_unmasked(tensor: Tensor, mask: Tensor | None) -> Tensor:
    """The positions that count, where the tensor has a batch and the mask's length as its first axes."""
    if mask is None or tensor.ndim < 3 or tensor.shape[:2] != mask.shape:
        return tensor
    return tensor[mask]


def find_departure(pairs: Iterable[Pair], tolerance: float) -> Pair | None:
    """The first pair, in the target's order, that departs; None where all agree as far as can be seen."""
    return next((pair for pair in pairs if pair.departs(tolerance)), None)
