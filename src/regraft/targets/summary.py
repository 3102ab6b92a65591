"""What ``target.json`` says of a target: nothing that gives test labels away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from regraft.core.task_spec import TaskSpec
from regraft.targets.rare import class_counts
from regraft.targets.strata import strata
from regraft.targets.thumbnails import thumbnail

if TYPE_CHECKING:
    from regraft.targets.target import Target

_PREVIEWED = 12


def summary(target: Target) -> dict[str, Any]:
    """A target as JSON; labels are counted and shown in the pool only."""
    hashes = target.examples.hashes
    return {
        "modality": target.modality,
        "origin": target.origin,
        "tasks": [spec.to_json() for spec in target.tasks],
        "count": len(target),
        "counts": {spec.name: _counts(spec, target._labels[spec.name][target.pool]) for spec in target.tasks},
        "parts": {"pool": len(target.pool), "test": len(target.test)},
        "notes": list(target.notes),
        "fingerprint": target.fingerprint,
        "unreadable": len(target.unreadable),
        **({"members": [member.name for member in target.members]} if target.members else {}),
        "splits": {"test": [row.tobytes()[:8].hex() for row in hashes.array[target.test]]},
        "preview": [_preview(target, index) for index in _previewed(target)],
    }


def _counts(spec: TaskSpec, values: np.ndarray) -> dict[str, float]:
    if spec.kind != "regression":
        counts = class_counts(spec, values)
        return {name: int(count) for name, count in zip(spec.classes, counts, strict=True)}
    there = values[~np.isnan(values)].astype(np.float64)
    if not len(there):
        return {}
    figures = {"mean": there.mean(), "std": there.std(), "min": there.min(), "max": there.max()}
    return {name: float(value) for name, value in figures.items()}


def _previewed(target: Target) -> list[int]:
    """Some examples of the pool, the classes in turn, always the same ones."""
    order = target.pool[np.argsort(target.examples.hashes.shuffled(0)[target.pool], kind="stable")]
    stratum = strata(target)[order]
    by_class = [order[stratum == value] for value in np.unique(stratum)[:_PREVIEWED]]
    turns = (members[turn] for turn in range(_PREVIEWED) for members in by_class if turn < len(members))
    return [int(index) for index, _ in zip(turns, range(_PREVIEWED), strict=False)]


def _preview(target: Target, index: int) -> dict[str, Any]:
    labels = target.labels([index])
    words = [label_in_words(spec, labels[spec.name][0]) for spec in target.tasks]
    told = zip(target.tasks, words, strict=True)
    # Of targets put together most labels are missing because they are not the example's own.
    named = [f"{spec.name}: {word}" for spec, word in told if not (target.members and word == "missing")]
    shown = words[0] if len(words) == 1 else ", ".join(named)
    return {"item": target.examples.names[index], "label": shown, **thumbnail(target, index)}


def label_in_words(spec: TaskSpec, value: Any) -> str:
    """One encoded label as a person reads it."""
    if spec.kind == "regression":
        return "missing" if np.isnan(value) else f"{value:.6g}"
    if spec.kind == "multilabel":
        if np.isnan(value).any():
            return "missing"
        return " | ".join(spec.classes[index] for index in np.flatnonzero(value)) or "none"
    return "missing" if value < 0 else spec.classes[int(value)]
