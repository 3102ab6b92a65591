"""The parts of a target: the test part is fixed by content, never by chance, and never resampled."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from regraft.core.errors import DataError, UsageError
from regraft.targets.digests import Digests
from regraft.targets.strata import strata

if TYPE_CHECKING:
    from regraft.targets.target import Target

POOL, VALIDATION, TEST = 0, 1, 2  # VALIDATION: given as such by whoever made the data; it belongs to the pool
DEFAULT_TEST = 0.2
_WORDS = {
    "train": POOL, "training": POOL,
    "val": VALIDATION, "valid": VALIDATION, "validation": VALIDATION, "dev": VALIDATION,
    "test": TEST, "testing": TEST,
}  # fmt: skip


def part_of(word: str) -> int | None:
    """The part that a split's name means, or None."""
    return _WORDS.get(word.strip().lower())


def units_of(hashes: Digests, groups: np.ndarray | None) -> np.ndarray:
    """``int64 (N,)``: the unit of each example. Examples of one group or of the same bytes are one unit."""
    contents = hashes.codes()
    if groups is None:
        return contents
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    shift = int(contents.max(initial=-1)) + 1
    nodes = shift + int(groups.max(initial=-1)) + 1
    ones = np.ones(len(contents), dtype=np.int8)
    graph = coo_array((ones, (contents, shift + groups)), shape=(nodes, nodes))
    components: np.ndarray = connected_components(graph, directed=False)[1]
    return components[contents].astype(np.int64)


def fix_test(target: Target, size: float | int, salt: str) -> np.ndarray:
    """The parts with a new test part of ``size``, taken by content hash in each class; whole units only."""
    labelled = labelled_examples(target)
    candidates = np.flatnonzero(labelled & (target.part != VALIDATION))
    wanted = _test_count(size, len(candidates))
    units = units_of(target.examples.hashes, target.groups)
    # A unit with an example in the given validation part cannot go to test: it would stand on both sides.
    fixed = np.isin(units, units[target.part == VALIDATION])
    candidates = candidates[~fixed[candidates]]
    part = np.where(target.part == VALIDATION, VALIDATION, POOL).astype(np.int8)
    taken = _take_units(target, candidates, units, wanted, salt)
    part[np.isin(units, taken)] = TEST
    if wanted and not (part == TEST).any():
        raise DataError(
            f"no test part can be made: all {len(candidates)} labelled examples hang together by group or by "
            "equal bytes, and such examples never stand on both sides"
        )
    return part


def _test_count(size: float | int, count: int) -> int:
    whole = isinstance(size, int | np.integer)
    wanted = int(size) if whole else round(float(size) * count)
    if isinstance(size, bool) or size < 0 or wanted >= count or not (whole or size < 1):
        raise UsageError(
            f"a test part of {size} was asked for out of {count} labelled examples; "
            "give a share between 0 and 1 (0.2) or a count (200) that leaves some for training"
        )
    return wanted


def _take_units(
    target: Target, candidates: np.ndarray, units: np.ndarray, wanted: int, salt: str
) -> np.ndarray:
    """Units in order of their place in their class, as many as come nearest to ``wanted`` examples."""
    keys = target.examples.hashes.ranks(salt)
    first, sizes, stratum = _unit_table(candidates, units, keys, strata(target))
    order = np.argsort(_shares(keys[first], sizes, stratum), kind="stable")
    totals = np.append(0, np.cumsum(sizes[order])[:-1])  # never all units: one is left to train on
    fewest = min(1, wanted)
    taken = fewest + int(np.abs(totals[fewest:] - wanted).argmin()) if len(totals) > fewest else 0
    return units[first[order[:taken]]]


def _unit_table(
    candidates: np.ndarray, units: np.ndarray, keys: np.ndarray, stratum: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each unit: its example with the smallest key, how many examples it has, its stratum."""
    order = candidates[np.lexsort((keys[candidates], units[candidates]))]
    _, starts, sizes = np.unique(units[order], return_index=True, return_counts=True)
    first = order[starts]
    return first, sizes, stratum[first]


def _shares(keys: np.ndarray, sizes: np.ndarray, stratum: np.ndarray) -> np.ndarray:
    """Where in its stratum each unit lies, 0..1 in the order of the keys; the last one comes after all
    others, so that every class keeps something to train on.
    """
    shares = np.empty(len(keys))
    order = np.lexsort((keys, stratum))
    bounds = np.flatnonzero(np.diff(stratum[order], prepend=-2, append=-2))
    for start, stop in pairwise(bounds):
        members = order[start:stop]
        weight = sizes[members]
        shares[members] = (np.cumsum(weight) - weight / 2) / weight.sum()
        shares[members[-1]] += 1.0
    return shares


def labelled_examples(target: Target) -> np.ndarray:
    """``bool (N,)``: where at least one output has a label."""
    there = np.zeros(len(target), dtype=bool)
    for spec in target.tasks:
        there |= present(spec.kind, target._labels[spec.name])
    return there


def present(kind: str, values: np.ndarray) -> np.ndarray:
    """``bool (N,)``: where a label is there."""
    if kind in ("binary", "multiclass"):
        return np.asarray(values >= 0)
    there = ~np.isnan(values.reshape(len(values), -1))
    return np.asarray(there.all(axis=1))
