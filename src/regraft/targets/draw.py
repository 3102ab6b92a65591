"""Drawing train and validation by seed: stratified, grouped and nested."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from regraft.core.errors import DataError, UsageError
from regraft.core.randomness import random_key
from regraft.targets.parts import POOL, VALIDATION, labelled_examples, units_of
from regraft.targets.strata import strata

if TYPE_CHECKING:
    from regraft.targets.target import Draw, Target


def draw(
    target: Target, seed: int, *, train_size: int | None, per_class: int | None, validation: float
) -> Draw:
    """Train and validation out of the pool.

    Everything hangs on one order of the examples, drawn by seed, whose every prefix holds the classes in
    proportion. A draw is a prefix of it, and which of its examples validate depends on their place in it
    only: so the train part of a smaller draw is a subset of that of a larger one, as is the validation part.
    """
    from regraft.targets.target import Draw

    _check(target, train_size, per_class, validation)
    if target.members:
        from regraft.targets.members import draw_each

        return draw_each(target, seed, train_size=train_size, per_class=per_class, validation=validation)
    order = _Order(target, seed)
    given = order.of_part(VALIDATION)
    if len(given) and validation > 0:
        train = order.prefix(order.of_part(POOL), train_size, per_class, share=1 - validation)
        held_out = order.prefix(given, train_size, per_class, share=validation)
    else:
        chosen = order.prefix(order.of_part(POOL, VALIDATION), train_size, per_class)
        validates = order.validates(validation)[chosen]
        train, held_out = chosen[~validates], chosen[validates]
    if not len(train):
        raise DataError(f"no labelled example is left to train on out of {len(target.pool)} in the pool")
    return Draw(seed, np.sort(train), np.sort(held_out))


def _check(target: Target, train_size: int | None, per_class: int | None, validation: float) -> None:
    if train_size is not None and per_class is not None:
        raise UsageError("train_size and per_class were both given; give one of them")
    for name, value in (("train_size", train_size), ("per_class", per_class)):
        if value is not None and value < 1:
            raise UsageError(f"{name} has to be at least 1; got {value}")
    if not 0 <= validation < 1:
        raise UsageError(f"validation is the share that is held out, from 0 up to 1; got {validation}")
    if per_class is not None and all(spec.kind == "regression" for spec in target.tasks):
        raise UsageError(
            f"per_class={per_class} needs classes, and this target has only values; use train_size="
        )


class _Order:
    """The examples of the pool that have a label, in the order drawn by one seed."""

    def __init__(self, target: Target, seed: int):
        self.part = target.part
        self.stratum = strata(target)
        self.units = units_of(target.examples.hashes, target.groups)
        keys = _unit_keys(self.units, target.examples.hashes.shuffled(random_key(seed, "draw")))
        pool = target.pool[labelled_examples(target)[target.pool]]
        self.members, self.share = _ordered(pool, self.stratum, keys, self.units)

    def of_part(self, *parts: int) -> np.ndarray:
        """The ordered examples of the given parts."""
        return self.members[np.isin(self.part[self.members], parts)]

    def prefix(
        self, members: np.ndarray, size: int | None, per_class: int | None, share: float = 1.0
    ) -> np.ndarray:
        """The first ``size`` or the first ``per_class`` of each class, times ``share``."""
        if size is not None:
            return members[: max(1, round(size * share))]
        if per_class is None:
            return members
        rank = rank_within(self.stratum[members])
        chosen: np.ndarray = members[(rank < max(1, round(per_class * share))) & (self.stratum[members] >= 0)]
        return chosen

    def validates(self, validation: float) -> np.ndarray:
        """``bool (N,)``: of each stratum's units every 1/validation-th, never the first. Strata start at
        different phases, so that many small classes still give the share asked for.
        """
        chosen = np.zeros(len(self.part), dtype=bool)
        if validation <= 0 or not len(self.members):
            return chosen
        firsts = self.members[_first_of_unit(self.units[self.members])]
        stratum, rank = self.stratum[firsts], rank_within(self.stratum[firsts])
        phase = (stratum - stratum.min() + 0.5) / (stratum.max() - stratum.min() + 1)
        after = np.floor((rank + 1) * validation + phase + 1e-9)
        before = np.floor(rank * validation + phase + 1e-9)
        hit = after > before
        early = np.floor(validation + phase + 1e-9) >= 1  # the first unit was meant: the second goes instead
        hit = np.where(rank == 0, False, hit | ((rank == 1) & early))
        return np.isin(self.units, self.units[firsts[hit]])


def drawn_shares(target: Target, seed: int) -> np.ndarray:
    """Where in its class each labelled example of the pool lies, 0 to 1, in the order drawn by ``seed``."""
    return _Order(target, seed).share


def _unit_keys(units: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """The smallest key of each unit, given to all of its examples."""
    smallest = np.full(int(units.max(initial=-1)) + 1, np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(smallest, units, keys)
    shared: np.ndarray = smallest[units]
    return shared


def _ordered(
    pool: np.ndarray, stratum: np.ndarray, keys: np.ndarray, units: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The pool in an order whose every prefix is in proportion; the first of each class come first."""
    by_key = pool[np.lexsort((units[pool], keys[pool]))]
    rank = rank_within(stratum[by_key])
    sizes = np.bincount(stratum[by_key] + 1, minlength=1)[stratum[by_key] + 1]
    share = rank / sizes
    place = np.argsort(share, kind="stable")
    return by_key[place], share[place]


def rank_within(values: np.ndarray) -> np.ndarray:
    """For each place how many equal values stand before it."""
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.diff(values[order], prepend=values[order][:1] - 1))
    counts = np.diff(np.append(starts, len(values)))
    ranks = np.empty(len(values), dtype=np.int64)
    ranks[order] = np.arange(len(values)) - np.repeat(starts, counts)
    return ranks


def _first_of_unit(units: np.ndarray) -> np.ndarray:
    """Places, ascending, at which a unit appears for the first time."""
    return np.sort(np.unique(units, return_index=True)[1])
