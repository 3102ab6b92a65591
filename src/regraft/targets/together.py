"""Several targets as one: all their examples, an output of each, one model for all of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from regraft.core.errors import DataError, UsageError
from regraft.core.task_spec import TaskSpec
from regraft.targets.channels import channels_of
from regraft.targets.decoding import PICTURE_CHANNELS
from regraft.targets.digests import Digests
from regraft.targets.draw import rank_within
from regraft.targets.joined import Places, join_stores
from regraft.targets.members import Member, unite_parts
from regraft.targets.parts import VALIDATION, labelled_examples

if TYPE_CHECKING:
    from regraft.targets.target import Labels, Target, Unreadable

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def together(members: Mapping[str, Target]) -> Target:
    """One target whose examples are those of all members; see :meth:`regraft.targets.Target.together`."""
    _check(members)
    joined = join(members)
    for name, target in members.items():
        learnable = labelled_examples(target)[target.pool].any()
        if not learnable:
            raise DataError(
                f"{name!r} has no labelled example outside its test part, so its head cannot be trained; "
                f"give it labels, or leave {name!r} out"
            )
    return joined


def join(members: Mapping[str, Target]) -> Target:
    """The same without asking whether anything can be learned."""
    from regraft.targets.target import Target

    names, targets = list(members), list(members.values())
    places, where = _places(targets)
    examples = join_stores(names, [target.examples for target in targets], where)
    groups = _groups(targets, places, len(where))
    part, moved = unite_parts(examples.hashes, groups, places, [target.part for target in targets])
    return Target(
        examples=examples,
        tasks=tuple(
            replace(spec, name=f"{name}.{spec.name}") for name in names for spec in members[name].tasks
        ),
        part=part,
        _labels=_labels(members, places, len(where)),
        groups=groups,
        unreadable=_unreadable(members),
        found=(*_sentences(members, len(where), int(moved.sum())),),
        origin=_origin(members),
        drop_rare=all(target.drop_rare for target in targets),
        held=HeldMembers(dict(members)) if any(target.held for target in targets) else None,
        members=tuple(Member(name, bool((members[name].part == VALIDATION).any())) for name in names),
    )


@dataclass(frozen=True, eq=False)
class HeldMembers:
    """Members of which some live in memory only."""

    members: dict[str, Target] = field(repr=False)

    def write(self, folder: Path) -> dict[str, Any]:
        """Each below its name."""
        kept = {name: target.save(folder / name) for name, target in self.members.items()}
        return _origin(kept)


def _origin(members: Mapping[str, Target]) -> dict[str, Any]:
    """Where the members are found again; what stands for white, where all arrays among them agree on it."""
    wholes = {target.origin["whole"] for target in members.values() if "whole" in target.origin}
    origin = {"kind": "together", "members": {name: target.origin for name, target in members.items()}}
    return {**origin, "whole": wholes.pop()} if len(wholes) == 1 else origin


def _check(members: Mapping[str, Target]) -> None:
    if not members:
        raise UsageError(
            "no targets were given to put together; name them: Target.together(cells=.., digits=..)"
        )
    wrong = [name for name in members if not _NAME.fullmatch(name)]
    if wrong:
        raise UsageError(
            f"{wrong[0]!r} cannot be the name of a target: its outputs are called NAME.OUTPUT, so give it "
            "letters, digits, _ and -, with a letter in front"
        )
    nested = [name for name, target in members.items() if target.members]
    if nested:
        inside = ", ".join(member.name for member in members[nested[0]].members)
        raise UsageError(
            f"{nested[0]!r} is put together itself, of {inside}: put these together with the others"
        )
    _check_modality(members)
    _check_outputs(members)


def _check_modality(members: Mapping[str, Target]) -> None:
    kinds = {name: target.modality for name, target in members.items()}
    if len(set(kinds.values())) > 1:
        listed = ", ".join(f"{name} holds {kind}s" for name, kind in kinds.items())
        raise UsageError(f"one trunk reads one kind of examples, and {listed}: fit one run for each kind")
    channels = {name: channels_of(target.examples) for name, target in members.items()}
    pictures = {None, *PICTURE_CHANNELS}
    if len(set(channels.values())) > 1 and not set(channels.values()) <= pictures:
        listed = ", ".join(f"{name} {'files' if n is None else n}" for name, n in channels.items())
        raise UsageError(
            f"the images have other numbers of channels ({listed}), and only pictures of 1, 3 and 4 are "
            "turned into each other"
        )


def _check_outputs(members: Mapping[str, Target]) -> None:
    """Heads are modules, whose names hold no dot: two outputs may not become one for lack of it."""
    seen: dict[str, str] = {}
    for member, target in members.items():
        for spec in target.tasks:
            name = f"{member}.{spec.name}"
            other = seen.setdefault(name.replace(".", "_"), name)
            if other != name:
                raise UsageError(f"the outputs {other!r} and {name!r} are too much alike; rename one of them")


def _places(targets: Sequence[Target]) -> tuple[list[np.ndarray], Places]:
    """Of each member's examples the number that they have in the whole, and where each of the whole lies.

    The same bytes in two members are one example; copies within a member are paired in their order.
    """
    counts = [len(target) for target in targets]
    store = np.repeat(np.arange(len(targets)), counts)
    row = np.concatenate([np.arange(count) for count in counts])
    codes = Digests(np.concatenate([target.examples.hashes.array for target in targets])).codes()
    turn = rank_within(store * (int(codes.max(initial=0)) + 1) + codes)
    keys = codes * (int(turn.max(initial=0)) + 1) + turn
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    place = np.argsort(np.argsort(first))[inverse]
    firsts = np.sort(first)
    return np.split(place, np.cumsum(counts)[:-1]), Places(store[firsts], row[firsts])


def _groups(targets: Sequence[Target], places: Sequence[np.ndarray], count: int) -> np.ndarray | None:
    """The groups of all members; two that share an example are one."""
    if all(target.groups is None for target in targets):
        return None
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rows, columns, size = [], [], count
    for target, place in zip(targets, places, strict=True):
        if target.groups is not None:
            rows.append(place)
            columns.append(size + target.groups)
            size += int(target.groups.max(initial=-1)) + 1
    ends = np.concatenate(rows), np.concatenate(columns)
    graph = coo_array((np.ones(len(ends[0]), dtype=np.int8), ends), shape=(size, size))
    components: np.ndarray = connected_components(graph, directed=False)[1]
    return components[:count].astype(np.int64)


def _labels(members: Mapping[str, Target], places: Sequence[np.ndarray], count: int) -> Labels:
    labels = {}
    for (name, target), place in zip(members.items(), places, strict=True):
        for spec in target.tasks:
            values = _missing(spec, count)
            values[place] = target._labels[spec.name]
            labels[f"{name}.{spec.name}"] = values
    return labels


def _missing(spec: TaskSpec, count: int) -> np.ndarray:
    """``count`` labels that are not there, as :class:`TaskSpec` encodes them."""
    if spec.kind in ("binary", "multiclass"):
        return np.full(count, -1, dtype=np.int64)
    shape = (count, len(spec.classes)) if spec.kind == "multilabel" else (count,)
    return np.full(shape, np.nan, dtype=np.float32)


def _unreadable(members: Mapping[str, Target]) -> tuple[Unreadable, ...]:
    return tuple(
        replace(one, item=f"{name}/{one.item}")
        for name, target in members.items()
        for one in target.unreadable
    )


def _sentences(members: Mapping[str, Target], count: int, moved: int) -> list[str]:
    sizes = ", ".join(f"{name} {len(target)}" for name, target in members.items())
    shared = sum(len(target) for target in members.values()) - count
    said = [f"{len(members)} targets together: {count} examples ({sizes})."]
    if shared:
        said.append(f"{shared} of them are in more than one, byte for byte, and have the labels of all.")
    if moved:
        said.append(
            f"{moved} examples that one of the targets could train on are tested by another, or hang "
            "together with such ones: they are in the test part of all."
        )
    found = [f"{name}: {sentence}" for name, target in members.items() for sentence in target.found]
    return [*said, *found]
