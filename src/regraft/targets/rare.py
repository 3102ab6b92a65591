"""Classes with too few examples: refused, or dropped aloud where that was asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from regraft.core.errors import DataError
from regraft.core.task_spec import TaskSpec
from regraft.targets.labels import some_of
from regraft.targets.parts import labelled_examples

if TYPE_CHECKING:
    from regraft.targets.target import Target


def class_counts(spec: TaskSpec, values: np.ndarray) -> np.ndarray:
    """``int64 (C,)``: how many examples have each class."""
    if spec.kind == "multilabel":
        return np.nansum(values, axis=0).astype(np.int64)
    return np.bincount(values[values >= 0], minlength=len(spec.classes))


def drop_rare_classes(target: Target) -> Target:
    """Refuse a single class, and classes with one example; with ``drop_rare`` drop those instead, aloud."""
    for spec in target.tasks:
        if spec.kind == "regression":
            continue
        counts = class_counts(spec, target._labels[spec.name])
        rare = np.flatnonzero(counts < 2)
        if len(rare) and target.drop_rare:
            target = _without_classes(target, spec, counts, rare)
        elif len(rare):
            raise DataError(_rare_message(spec, counts, rare))
        _check_two_classes(target, spec.name)
    return target


def _rare_message(spec: TaskSpec, counts: np.ndarray, rare: np.ndarray) -> str:
    named = some_of([f"{spec.classes[index]} ({counts[index]})" for index in rare])
    return (
        f"{len(rare)} of {len(spec.classes)} classes of {spec.name!r} have fewer than two readable examples: "
        f"{named}. One is needed to train on and one to test on: add examples, or drop these classes with "
        "drop_rare=True (--drop-rare on the command line)"
    )


def _check_two_classes(target: Target, name: str) -> None:
    spec = next(spec for spec in target.tasks if spec.name == name)
    if spec.kind != "multilabel" and len(spec.classes) < 2:
        found = f"one class only, {spec.classes[0]!r}" if spec.classes else "no class at all"
        raise DataError(
            f"{name!r} has {found} ({len(target)} examples); at least two classes are needed. "
            "Give each class its own folder, or its own word in the label column"
        )


def _without_classes(target: Target, spec: TaskSpec, counts: np.ndarray, rare: np.ndarray) -> Target:
    keep = np.setdiff1d(np.arange(len(spec.classes)), rare)
    values = target._labels[spec.name]
    if spec.kind == "multilabel":
        values = values[:, keep]
    else:
        number = np.full(len(spec.classes) + 1, -1, dtype=np.int64)  # the last one is read for -1
        number[keep] = np.arange(len(keep))
        values = number[values]
    smaller = replace(spec, classes=tuple(spec.classes[index] for index in keep))
    if spec.kind == "multiclass" and len(keep) == 2:
        smaller = replace(smaller, kind="binary")
    had = labelled_examples(target)
    dropped = replace(
        target,
        tasks=tuple(smaller if other.name == spec.name else other for other in target.tasks),
        _labels={**target._labels, spec.name: values},
        found=(*target.found, _dropped_sentence(spec, counts, rare)),
    )
    return dropped.select(np.flatnonzero(labelled_examples(dropped) | ~had))


def _dropped_sentence(spec: TaskSpec, counts: np.ndarray, rare: np.ndarray) -> str:
    named = some_of([f"{spec.classes[index]} ({counts[index]})" for index in rare])
    return f"{spec.name}: dropped {len(rare)} classes with fewer than two readable examples: {named}."
