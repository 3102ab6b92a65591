"""Members: the targets that one target was put together from, seen apart again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from regraft.core.errors import DataError, UsageError
from regraft.core.task_spec import TaskSpec
from regraft.targets.digests import Digests
from regraft.targets.parts import POOL, TEST, VALIDATION, fix_test, labelled_examples, units_of

if TYPE_CHECKING:
    from regraft.targets.target import Draw, Target


@dataclass(frozen=True)
class Member:
    """One of the targets that a target was put together from; its outputs are called ``NAME.OUTPUT``.

    ``validates`` says whether it brought a validation part of its own.
    """

    name: str
    validates: bool = False

    def outputs(self, tasks: tuple[TaskSpec, ...]) -> tuple[TaskSpec, ...]:
        """Which of the outputs are its own, under the names that they have here."""
        return tuple(spec for spec in tasks if spec.name.startswith(f"{self.name}."))


def apart(target: Target, member: Member) -> tuple[Target, np.ndarray]:
    """A member by itself, and the indices of its examples in the whole: those with a label of it.

    It stands in the same parts, but for examples that validate only because another member gave them so.
    """
    own = member.outputs(target.tasks)
    there = labelled_examples(replace(target, tasks=own)) if own else np.zeros(len(target), dtype=bool)
    indices = np.flatnonzero(there)
    part = target.part if member.validates else np.where(target.part == VALIDATION, POOL, target.part)
    alone = replace(
        target,
        tasks=own,
        part=part.astype(np.int8),
        _labels={spec.name: target._labels[spec.name] for spec in own},
        members=(),
    )
    return alone.select(indices), indices


def unite_parts(
    hashes: Digests, groups: np.ndarray | None, places: list[np.ndarray], parts: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """One part for each of N examples out of what M members say of theirs, and which of them went to test.

    ``places[m]`` holds the examples of a member, ``parts[m]`` their parts in it. Test comes before
    validation, and that before the rest, so that what one member tests on no other trains on; with an example
    go those of its bytes and of its group.
    """
    part = np.full(len(hashes), POOL, dtype=np.int8)
    for place, said in zip(places, parts, strict=True):
        np.maximum.at(part, place, said)
    moved = np.zeros(len(hashes), dtype=bool)
    for place, said in zip(places, parts, strict=True):
        moved[place[(said != TEST) & (part[place] == TEST)]] = True
    # A member may know an example only under another place: what has a test example's bytes is for test.
    units = units_of(hashes, groups)
    along = np.isin(units, units[part == TEST]) & (part != TEST)
    part[along] = TEST
    return part, moved | along


def fix_test_of_each(target: Target, size: float | int, salt: str) -> np.ndarray:
    """The parts with a new test part of ``size`` of each member."""
    views = [apart(target, member) for member in target.members]
    parts = [fix_test(alone, size, salt) for alone, _ in views]
    for member, part, (alone, _) in zip(target.members, parts, views, strict=True):
        if member.validates:
            part[alone.part == VALIDATION] = VALIDATION
    united, _ = unite_parts(target.examples.hashes, target.groups, [place for _, place in views], parts)
    return united


def strata_of_each(target: Target) -> np.ndarray:
    """``int64 (N,)``: strata as each member has them, one after the other; an example has its first one."""
    from regraft.targets.strata import strata

    found = np.full(len(target), -1, dtype=np.int64)
    for member in target.members:
        alone, indices = apart(target, member)
        own = strata(alone) + found.max(initial=-1) + 1
        free = found[indices] < 0
        found[indices[free]] = own[free]
    return found


def draw_each(
    target: Target, seed: int, *, train_size: int | None, per_class: int | None, validation: float
) -> Draw:
    """Train and validation drawn from each member by itself, put together.

    A member's own examples are those that it would have drawn alone, with ``per_class`` of each of its
    classes; ``train_size`` is divided among members in proportion. An example that one member trains on and
    another validates on is for validation, as are the copies and the group of one.
    """
    from regraft.targets.draw import draw
    from regraft.targets.target import Draw

    views = [apart(target, member) for member in target.members]
    sizes = _sizes(target, views, seed, train_size)
    train, held = np.zeros(len(target), dtype=bool), np.zeros(len(target), dtype=bool)
    for member, (alone, indices), size in zip(target.members, views, sizes, strict=True):
        try:
            found = draw(alone, seed, train_size=size, per_class=per_class, validation=validation)
        except (UsageError, DataError) as error:
            raise type(error)(f"{member.name}: {error}") from error
        train[indices[found.train]] = True
        held[indices[found.validation]] = True
    units = units_of(target.examples.hashes, target.groups)
    both = train & np.isin(units, units[held])
    train, held = train & ~both, held | both
    _check_each(target, views, train)
    return Draw(seed, np.flatnonzero(train), np.flatnonzero(held))


def _sizes(
    target: Target, views: list[tuple[Target, np.ndarray]], seed: int, train_size: int | None
) -> list[int | None]:
    """How many examples each member draws: as many as stand among the first ``train_size`` of all of them,
    where each member's come in its own order, in proportion. So a smaller draw is part of a larger one.
    """
    if train_size is None:
        return [None] * len(views)
    from regraft.targets.draw import drawn_shares

    shares = [drawn_shares(alone, seed) for alone, _ in views]
    number = np.repeat(np.arange(len(views)), [len(share) for share in shares])
    turn = np.concatenate([np.arange(len(share)) for share in shares])
    order = np.lexsort((number, turn, np.concatenate(shares)))
    counts = np.bincount(number[order[:train_size]], minlength=len(views))
    empty = [member.name for member, count in zip(target.members, counts, strict=True) if not count]
    if empty:
        raise UsageError(
            f"train_size={train_size} leaves no example for {', '.join(empty)}; ask for at least "
            f"{2 * len(views)}, or for per_class="
        )
    return [int(count) for count in counts]


def _check_each(target: Target, views: list[tuple[Target, np.ndarray]], train: np.ndarray) -> None:
    empty = [
        member.name
        for member, (_, indices) in zip(target.members, views, strict=True)
        if not train[indices].any()
    ]
    if empty:
        raise DataError(
            f"no example of {', '.join(empty)} is left to train on: each is validated on by another, or "
            "is a copy of one that is. Ask for more examples, or name these data once, with an output each"
        )
