"""From columns of labels to encoded outputs: the kind of task is found from the labels, or named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from regraft.core.errors import DataError, UsageError
from regraft.core.task_spec import TASK_KINDS, TaskSpec

if TYPE_CHECKING:
    from regraft.targets.target import Tasks

_MISSING = frozenset({"", "NaN", "nan", "NA", "N/A", "null", "NULL"})
_FEW = 20  # so many different whole numbers are taken for classes


@dataclass(frozen=True)
class Output:
    """One named output, encoded, and the sentence that says what was found."""

    spec: TaskSpec
    values: np.ndarray
    sentence: str


def named_kinds(tasks: Mapping[str, str] | str | None, outputs: list[str]) -> dict[str, str]:
    """The kinds of task that were named, by output."""
    if tasks is None:
        return {}
    if isinstance(tasks, str):
        if len(outputs) > 1:
            raise UsageError(
                f"one task ({tasks!r}) was named for the outputs {', '.join(outputs)}; "
                f'give one for each: tasks={{"{outputs[0]}": "{tasks}"}}'
            )
        tasks = {outputs[0]: tasks}
    _check_kinds(tasks, outputs)
    return dict(tasks)


def tasks_json(tasks: Tasks) -> dict[str, str] | str | None:
    """Named tasks as plain JSON."""
    if isinstance(tasks, tuple):
        return {spec.name: spec.kind for spec in tasks}
    return tasks if tasks is None or isinstance(tasks, str) else dict(tasks)


def _check_kinds(tasks: Mapping[str, str], outputs: list[str]) -> None:
    for name, kind in tasks.items():
        if name not in outputs:
            raise UsageError(f"a task was named for {name!r}; the outputs are {', '.join(outputs)}")
        if kind not in TASK_KINDS:
            raise UsageError(f"{kind!r} is not a task ({name!r}); the tasks are {', '.join(TASK_KINDS)}")


def encode(name: str, column: Any, kind: str | None = None) -> Output:
    """Find the task of a column of labels (any Arrow array) and encode it as TaskSpec says."""
    values, numeric = _plain(column)
    if any(isinstance(value, dict) for value in values):
        raise DataError(
            f"labels of {name!r} are objects with fields; name a column of words, numbers or lists"
        )
    found = kind or _find_kind(values, numeric)
    if all(value is None for value in values):
        raise DataError(f"all {len(values)} labels of {name!r} are missing; name another column with label=")
    spec, encoded = _ENCODERS[found](name, values, found)
    return Output(spec, encoded, _sentence(spec, encoded, named=kind is not None))


def _plain(column: Any) -> tuple[list[Any], bool]:
    """Labels as Python values, None where missing, and whether they are numbers."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind):  # whoever made the column says that these are classes
        return [None if value is None else str(value) for value in column.to_pylist()], False
    if not any(test(kind) for test in _word_tests()):
        return column.to_pylist(), pa.types.is_integer(kind) or pa.types.is_floating(kind)
    # Each different word is looked at once, however many millions of rows there are.
    whole = column if isinstance(column, pa.Array) else column.combine_chunks()
    coded = whole.dictionary_encode()
    words = [_stripped(value) for value in coded.dictionary.to_pylist()]
    table, numeric = _as_numbers(words)
    codes = coded.indices.fill_null(len(table)).to_pylist()
    table.append(None)
    return [table[code] for code in codes], numeric


def _word_tests() -> tuple[Any, ...]:
    from pyarrow import types

    return types.is_string, types.is_large_string, types.is_binary, types.is_large_binary


def _stripped(value: str | bytes) -> str | None:
    word = (_decoded(value) if isinstance(value, bytes) else value).strip()
    return None if word in _MISSING else word


def _decoded(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"a label is not valid UTF-8: {value[:40]!r}; save the file as UTF-8") from error


def _as_numbers(values: list[str | None]) -> tuple[list[Any], bool]:
    """Whole numbers or numbers where every string is one."""
    there = {value for value in values if value is not None}
    for number in (int, float):
        try:
            table = {value: number(value) for value in there}
        except ValueError:
            continue
        return [None if value is None else table[value] for value in values], bool(there)
    return list(values), False


def _find_kind(values: list[Any], numeric: bool) -> str:
    there = [value for value in values if value is not None]
    if any(isinstance(value, list | tuple | np.ndarray) for value in there):
        return "multilabel"
    if not numeric:
        if any(isinstance(value, str) and "|" in value for value in there):
            return "multilabel"
        return "binary" if len(set(there)) <= 2 else "multiclass"
    different = set(there)
    if any(not np.isfinite(value) or value != int(value) for value in different):
        return "regression"
    if len(different) <= 2:
        return "binary"
    ordinal = min(different) in (0, 1) and len(different) == max(different) - min(different) + 1
    often = len(there) >= 5 * len(different)
    few = len(different) <= _FEW
    return "multiclass" if few or (ordinal and often) else "regression"


def _class_name(value: Any) -> str:
    if isinstance(value, float) and value == int(value):
        return str(int(value))
    return str(value)


def _ordered_classes(values: set[Any]) -> list[Any]:
    """Numbers by size, also where they are written as words; everything else by name."""
    if all(isinstance(value, int | float) for value in values):
        return sorted(values)
    if all(isinstance(value, str) and value.isdecimal() for value in values):
        return sorted(values, key=lambda value: (int(value), value))
    return sorted(values, key=str)


def _encode_classes(name: str, values: list[Any], kind: str) -> tuple[TaskSpec, np.ndarray]:
    if any(isinstance(value, list) for value in values):
        raise DataError(f"labels of {name!r} are lists; its task can only be 'multilabel', not {kind!r}")
    classes = _ordered_classes({value for value in values if value is not None})
    if kind == "binary" and len(classes) > 2:
        raise DataError(f"{name!r} was named binary, but it has {len(classes)} classes: {some_of(classes)}")
    number = {value: index for index, value in enumerate(classes)}
    encoded = np.array([-1 if value is None else number[value] for value in values], dtype=np.int64)
    return TaskSpec(name, kind, tuple(_class_name(value) for value in classes)), encoded  # type: ignore[arg-type]


def _encode_multilabel(name: str, values: list[Any], kind: str) -> tuple[TaskSpec, np.ndarray]:
    rows = [None if value is None else _label_set(value) for value in values]
    classes = _ordered_classes({label for row in rows if row is not None for label in row})
    if not classes:
        raise DataError(f"no example has a label in the multilabel output {name!r}: all lists are empty")
    number = {value: index for index, value in enumerate(classes)}
    encoded = np.zeros((len(rows), len(classes)), dtype=np.float32)
    for index, row in enumerate(rows):
        if row is None:
            encoded[index] = np.nan
        else:
            encoded[index, [number[label] for label in row]] = 1
    return TaskSpec(name, "multilabel", tuple(_class_name(value) for value in classes)), encoded


def _label_set(value: Any) -> list[Any]:
    if isinstance(value, str):
        return [part.strip() for part in value.split("|") if part.strip()]
    if isinstance(value, list | tuple | np.ndarray):
        return [label for label in value if label is not None]
    return [value]


def _encode_values(name: str, values: list[Any], kind: str) -> tuple[TaskSpec, np.ndarray]:
    words = [value for value in values if value is not None and not isinstance(value, int | float)]
    if words:
        raise DataError(
            f"{name!r} was named regression, but {words[0]!r} is not a number ({len(words)} are not)"
        )
    bad = [index for index, value in enumerate(values) if value is not None and not np.isfinite(value)]
    if bad:
        raise DataError(
            f"{len(bad)} labels of {name!r} are not finite numbers, the first one ({values[bad[0]]}) at row "
            f"{bad[0] + 1}; leave the cell empty (None) where a label is missing"
        )
    encoded = np.array([np.nan if value is None else value for value in values], dtype=np.float32)
    if len({value for value in values if value is not None}) < 2:
        raise DataError(f"all labels of {name!r} are the same number; there is nothing to learn from them")
    return TaskSpec(name, "regression"), encoded


_ENCODERS = {
    "binary": _encode_classes,
    "multiclass": _encode_classes,
    "multilabel": _encode_multilabel,
    "regression": _encode_values,
}


def _sentence(spec: TaskSpec, values: np.ndarray, *, named: bool) -> str:
    how = "named" if named else "found from the labels"
    if spec.kind == "regression":
        there = values[~np.isnan(values)]
        what = f"values from {there.min():.6g} to {there.max():.6g}"
    else:
        what = f"{len(spec.classes)} classes ({some_of(spec.classes)})"
    return f"{spec.name}: {spec.kind}, {how}: {what}."


def some_of(words: Any, most: int = 6) -> str:
    """The first few words of a list, and how many more there are."""
    words = [str(word) for word in words]
    more = f", and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more


def missing_sentence(
    specs: tuple[TaskSpec, ...], labels: Mapping[str, np.ndarray], there: Mapping[str, Any]
) -> list[str]:
    """Sentences about outputs that lack labels."""
    counts = Counter({spec.name: int((~there[spec.name]).sum()) for spec in specs})
    return [
        f"{name}: {count} of {len(labels[name])} examples have no label."
        for name, count in counts.items()
        if count
    ]
