"""Labels of other data, encoded as a model encodes its own: by the names of its classes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from regraft.core.errors import DataError
from regraft.core.task_spec import TaskSpec
from regraft.targets.labels import Output, encode, some_of
from regraft.targets.parts import TEST

if TYPE_CHECKING:
    from regraft.targets.target import Target


def encode_known(columns: Mapping[str, Any], specs: tuple[TaskSpec, ...]) -> list[Output]:
    """Encode columns of labels as these tasks do; a single column is the single output, whatever its name.

    Raises :class:`DataError` where an output has no column, or a label is of no class that the model knows.
    """
    if len(columns) == len(specs) == 1:
        columns = {specs[0].name: next(iter(columns.values()))}
    _check_outputs(columns, [spec.name for spec in specs])
    return [_encode(spec, columns[spec.name]) for spec in specs]


def known(target: Target, specs: tuple[TaskSpec, ...]) -> Target:
    """A target whose labels are encoded as these tasks do, all of it in the test part."""
    return replace(encoded_as(target, specs), part=np.full(len(target), TEST, dtype=np.int8))


def encoded_as(target: Target, specs: tuple[TaskSpec, ...]) -> Target:
    """A target whose labels are encoded as these tasks do; errors as :func:`encode_known`."""
    outputs = {spec.name: spec for spec in specs}
    if len(specs) == len(target.tasks) == 1:
        outputs = {target.tasks[0].name: specs[0]}
    found = [Output(spec, target._labels[spec.name], "") for spec in target.tasks if spec.name in outputs]
    _check_outputs([output.spec.name for output in found], outputs)
    encoded = [_as(output, outputs[output.spec.name]) for output in found]
    return replace(
        target,
        tasks=specs,
        _labels={output.spec.name: output.values for output in encoded},
    )


def _check_outputs(there: Collection[str], wanted: Iterable[str]) -> None:
    missing = [name for name in wanted if name not in there]
    if missing:
        raise DataError(
            f"the data have no labels for the model's output {', '.join(missing)} (they have "
            f"{', '.join(there) or 'none'}); name one column for each output with label= (--label)"
        )


def _encode(spec: TaskSpec, column: Any) -> Output:
    # Two classes of a model need not be two here, nor the data hold all of the model's.
    found = encode(spec.name, column, "multiclass" if spec.kind == "binary" else spec.kind)
    return _as(found, spec)


def _as(found: Output, spec: TaskSpec) -> Output:
    if found.spec.kind != spec.kind and not {found.spec.kind, spec.kind} <= {"binary", "multiclass"}:
        raise DataError(
            f"the labels of {found.spec.name!r} are for {found.spec.kind}, the model's {spec.name!r} is for "
            f"{spec.kind}"
        )
    values = found.values if spec.kind == "regression" else _renumbered(found, spec)
    return replace(found, spec=spec, values=values)


def _renumbered(found: Output, spec: TaskSpec) -> np.ndarray:
    strange = [name for name in found.spec.classes if name not in spec.classes]
    if strange:
        raise DataError(
            f"the labels of {spec.name!r} name classes that the model does not know: {some_of(strange)}. "
            f"It knows {some_of(spec.classes)}"
        )
    place = np.array([spec.classes.index(name) for name in found.spec.classes])
    if spec.kind != "multilabel":
        return np.where(found.values >= 0, place[found.values], -1)
    values = np.zeros((len(found.values), len(spec.classes)), dtype=np.float32)
    values[:, place] = found.values
    values[np.isnan(found.values).any(axis=1)] = np.nan
    return values
