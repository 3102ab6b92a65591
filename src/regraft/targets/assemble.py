"""From a store, columns of labels, groups and given splits to a Target: what every loader ends with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from regraft.core.errors import DataError
from regraft.targets.examples import Examples
from regraft.targets.known import encode_known
from regraft.targets.labels import Output, encode, missing_sentence, named_kinds
from regraft.targets.parts import DEFAULT_TEST, POOL, TEST, VALIDATION, fix_test, part_of, present
from regraft.targets.rare import drop_rare_classes
from regraft.targets.target import Target, Tasks, Unreadable

if TYPE_CHECKING:
    from regraft.targets.held import Held


@dataclass(frozen=True)
class Found:
    """What a loader found; labels, groups and splits are Arrow arrays aligned with ``examples``."""

    examples: Examples
    labels: Mapping[str, Any]
    unreadable: Sequence[Unreadable] = ()
    groups: Any = None
    splits: Sequence[str | None] | None = None
    sentences: Sequence[str] = ()
    origin: dict[str, Any] = field(default_factory=dict)
    held: Held | None = None


def assemble(found: Found, *, tasks: Tasks, drop_rare: bool) -> Target:
    """Encode the labels, respect or fix the splits, and refuse what cannot be learned from."""
    if not len(found.examples):
        raise DataError(_nothing_readable(found.unreadable))
    if not found.labels:
        raise DataError("no label was found: name the column that holds it with label=")
    outputs = _encoded(found.labels, tasks)
    specs = tuple(output.spec for output in outputs)
    labels = {output.spec.name: output.values for output in outputs}
    there = {spec.name: present(spec.kind, labels[spec.name]) for spec in specs}
    target = Target(
        examples=found.examples,
        tasks=specs,
        part=np.zeros(len(found.examples), dtype=np.int8),
        _labels=labels,
        groups=_group_numbers(found.groups),
        unreadable=tuple(found.unreadable),
        found=(
            *found.sentences,
            *(output.sentence for output in outputs),
            *missing_sentence(specs, labels, there),
        ),
        origin=found.origin,
        drop_rare=drop_rare,
        held=found.held,
    )
    if isinstance(tasks, tuple):  # for being scored, all of it: nothing is learned from these labels
        return replace(target, part=np.full(len(target), TEST, dtype=np.int8))
    return _with_parts(target, found.splits)


def _encoded(columns: Mapping[str, Any], tasks: Tasks) -> list[Output]:
    if isinstance(tasks, tuple):
        return encode_known(columns, tasks)
    kinds = named_kinds(tasks, list(columns))
    return [encode(name, column, kinds.get(name)) for name, column in columns.items()]


def _nothing_readable(unreadable: Sequence[Unreadable]) -> str:
    if not unreadable:
        return "no example was found"
    first = unreadable[0]
    return f"none of {len(unreadable)} examples can be read; the first one, {first.item}: {first.reason}"


def _group_numbers(groups: Any) -> np.ndarray | None:
    """Numbers of the groups; an example without a group value is a group of its own."""
    if groups is None:
        return None
    import pyarrow as pa

    encoded = pa.chunked_array([groups]) if isinstance(groups, pa.Array) else groups
    codes = encoded.combine_chunks().dictionary_encode().indices
    numbers = codes.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    alone = numbers < 0
    numbers[alone] = numbers.max(initial=-1) + 1 + np.arange(alone.sum())
    return numbers


def _with_parts(target: Target, splits: Sequence[str | None] | None) -> Target:
    if splits is None:
        target = drop_rare_classes(target)
        return replace(target, part=fix_test(target, DEFAULT_TEST, ""))
    target = drop_rare_classes(_set_aside_copies(replace(target, part=_given_parts(splits))))
    if not (target.part == TEST).any():
        target = replace(target, part=fix_test(target, DEFAULT_TEST, ""))
    if not (target.part == POOL).any():
        raise DataError("the given splits leave no example to train on; use the word 'train' for those")
    return target


def _given_parts(splits: Sequence[str | None]) -> np.ndarray:
    """The parts that the split words mean; a row without a word is for training."""
    meaning: dict[str | None, int | None] = {None: POOL}
    for word in set(splits) - {None}:
        meaning[word] = part_of(word or "train")
    unknown = sorted(str(word) for word, part in meaning.items() if part is None)
    if unknown:
        raise DataError(f"split words {', '.join(unknown)} are not known; use train, validation and test")
    return np.array([meaning[word] for word in splits], dtype=np.int8)


def _set_aside_copies(target: Target) -> Target:
    """Take examples out of training and validation whose bytes also stand in the given test part; say so."""
    contents = target.examples.hashes.codes()
    sentences: list[str] = []
    keep = np.ones(len(target), dtype=bool)
    for side, name in ((TEST, "test"), (VALIDATION, "validation")):
        copies = (target.part < side) & np.isin(contents, contents[(target.part == side) & keep]) & keep
        keep &= ~copies
        if copies.any():
            sentences.append(_copies_sentence(target, np.flatnonzero(copies), name))
    sentences += _group_leaks(target)
    return replace(target, found=target.found + tuple(sentences)).select(np.flatnonzero(keep))


def _copies_sentence(target: Target, copies: np.ndarray, name: str) -> str:
    shown = ", ".join(target.examples.names[index] for index in copies[:3])
    return (
        f"Leak: {len(copies)} examples have the same bytes as one of the given {name} part and are set aside "
        f"({shown}{', ..' if len(copies) > 3 else ''})."
    )


def _group_leaks(target: Target) -> list[str]:
    if target.groups is None:
        return []
    tested = np.unique(target.groups[target.part == TEST])
    both = np.intersect1d(tested, target.groups[target.part != TEST])
    if not len(both):
        return []
    return [
        f"Leak: {len(both)} groups stand both in the given test part and outside it; the splits are kept."
    ]
