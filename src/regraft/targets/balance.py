"""Sentences about how the classes are filled, counted in the pool only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from regraft.core.task_spec import TaskSpec
from regraft.targets.labels import some_of
from regraft.targets.rare import class_counts

if TYPE_CHECKING:
    from regraft.targets.target import Draw, Target

_IMBALANCED = 3.0  # the largest class is so many times as large as the smallest


def balance_notes(target: Target) -> tuple[str, ...]:
    """Sentences about imbalance, empty classes and copies with different labels."""
    notes = []
    for spec in target.tasks:
        if spec.kind != "regression":
            notes += _class_notes(spec, class_counts(spec, target._labels[spec.name][target.pool]))
    return (*notes, *_conflicts(target))


def draw_notes(target: Target, draw: Draw) -> tuple[str, ...]:
    """Sentences about classes that the pool has and a draw has no training example of."""
    labels, pool = target.labels(draw.train), target.labels(target.pool)
    notes = []
    for spec in target.tasks:
        if spec.kind == "regression":
            continue
        there, drawn = class_counts(spec, pool[spec.name]), class_counts(spec, labels[spec.name])
        absent = [spec.classes[index] for index in np.flatnonzero((there > 0) & (drawn == 0))]
        if absent:
            notes.append(
                f"{spec.name}: {len(absent)} of {len(spec.classes)} classes have no training example in this "
                f"draw ({some_of(absent)}), so they cannot be learned; per_class= draws some of each."
            )
    return tuple(notes)


def _class_notes(spec: TaskSpec, counts: np.ndarray) -> list[str]:
    absent = [spec.classes[index] for index in np.flatnonzero(counts == 0)]
    notes = []
    if absent:
        notes.append(f"{spec.name}: no training example has the class {', '.join(absent[:6])}.")
    largest, smallest = int(counts.argmax()), int(np.where(counts == 0, counts.max() + 1, counts).argmin())
    if counts[largest] < _IMBALANCED * counts[smallest]:
        return notes
    share = counts[largest] / counts.sum()
    notes.append(
        f"{spec.name}: imbalanced: {spec.classes[largest]!r} has {counts[largest]} examples ({share:.0%}), "
        f"{spec.classes[smallest]!r} has {counts[smallest]}; look at balanced accuracy and macro F1."
    )
    return notes


def _conflicts(target: Target) -> list[str]:
    """Examples with the same bytes and different labels, in the pool."""
    contents = target.examples.hashes.codes()[target.pool]
    copies = len(contents) - len(np.unique(contents))
    if not copies:
        return []
    notes = [f"{copies} examples outside the test part are copies of others, byte for byte."]
    for spec in target.tasks:
        values = target._labels[spec.name][target.pool].reshape(len(contents), -1)
        pairs = np.unique(np.column_stack([contents, np.nan_to_num(values, nan=-1)]), axis=0)
        torn = len(pairs) - len(np.unique(pairs[:, 0]))
        if torn:
            notes.append(f"{spec.name}: {torn} copies have another label than their twin.")
    return notes
