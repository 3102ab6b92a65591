"""Targets from tables: csv, tsv, parquet and jsonl files, pandas and pyarrow tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from regraft.core.errors import DataError, UsageError
from regraft.targets.arrow_files import arrow_column, as_bytes, open_table_file, table_column_names
from regraft.targets.assemble import Found, assemble
from regraft.targets.columns import (
    ArrowColumn,
    Column,
    ImageStructs,
    Layout,
    TableColumns,
    find_layout,
    guess_item,
    require_column,
)
from regraft.targets.held import HeldTable
from regraft.targets.labels import tasks_json
from regraft.targets.names import NumberedNames
from regraft.targets.stores import Stored, store_image_paths, store_image_rows, store_texts
from regraft.targets.target import Target, Tasks, Unreadable


@dataclass(frozen=True)
class _Opened:
    """A table, whichever way it came: the column of examples and a way to the others."""

    item: ArrowColumn
    others: dict[str, Any]
    numbers: np.ndarray
    bad_rows: tuple[tuple[int, str], ...]
    folder: Path
    origin: dict[str, Any]
    held: HeldTable | None


def from_table(table: Any, columns: TableColumns, *, tasks: Tasks, drop_rare: bool) -> Target:
    """A table with a column of image paths (or bytes) or of texts."""
    names, place = _names_of(table)
    layout = find_layout(columns, names, place)
    opened = _open_file(Path(table), layout) if isinstance(table, str | Path) else _open_memory(table, layout)
    if not len(opened.item):
        raise DataError(f"{place} has columns but no rows")
    options = {**columns.to_json(), "tasks": tasks_json(tasks), "drop_rare": drop_rare}
    stored = _store(opened, layout)
    found = found_in_columns(
        stored,
        layout,
        opened.others,
        bad=tuple(Unreadable(f"row {number}", reason) for number, reason in opened.bad_rows),
        origin={**opened.origin, "options": options},
        held=opened.held,
    )
    return assemble(found, tasks=tasks, drop_rare=drop_rare)


def found_in_columns(
    stored: Stored, layout: Layout, others: dict[str, Any], *, bad: tuple[Unreadable, ...] = (), **rest: Any
) -> Found:
    """What a loader found, with labels, groups and splits of the rows that are examples."""
    rows = pa.array(stored.rows)
    taken = {name: values.take(rows) for name, values in others.items()}
    return Found(
        examples=stored.examples,
        labels={name: taken[name] for name in layout.labels},
        unreadable=(*bad, *stored.unreadable),
        groups=taken[layout.group] if layout.group else None,
        splits=_words(taken[layout.split]) if layout.split else None,
        sentences=layout.sentences,
        **rest,
    )


def _words(column: Any) -> Sequence[str | None]:
    values = column.to_pylist()
    words = [value.decode("utf-8", "replace") if isinstance(value, bytes) else value for value in values]
    return [str(word) if word not in (None, "") else None for word in words]


def _names_of(table: Any) -> tuple[list[str], str]:
    """Column names, and what to call the table in a message."""
    if isinstance(table, str | Path):
        path = Path(table).expanduser()
        if path.is_dir():
            raise DataError(f"{path} is a folder, not a table; for class folders use Target.from_images")
        return table_column_names(path), str(path)
    if isinstance(table, pa.Table):
        return list(table.column_names), "the table"
    if hasattr(table, "columns") and hasattr(table, "iloc"):
        return [str(name) for name in table.columns], "the data frame"
    raise UsageError(
        f"from_table takes a path, a pandas data frame or a pyarrow table; got {type(table).__name__}. "
        "For arrays and lists use Target.from_arrays(X, y)"
    )


def _open_file(path: Path, layout: Layout) -> _Opened:
    path = path.expanduser().resolve()
    file = open_table_file(path, layout.item, layout.others)
    total = file.table.num_rows + len(file.bad_rows)
    good = np.setdiff1d(np.arange(1, total + 1), [number for number, _ in file.bad_rows])
    return _Opened(
        item=ArrowColumn(file.table.column(layout.item), file.path, layout.item),
        others={name: file.column(name) for name in layout.others},
        numbers=good[: file.table.num_rows],
        bad_rows=file.bad_rows,
        folder=path.parent,
        origin={"kind": "table", "path": str(path)},
        held=None,
    )


def _open_memory(table: Any, layout: Layout) -> _Opened:
    needed = [layout.item, *(name for name in layout.others if name != layout.item)]
    arrays = {name: _memory_column(table, name, item=name == layout.item) for name in needed}
    return _Opened(
        item=ArrowColumn(arrays[layout.item]),
        others={name: arrays[name] for name in layout.others},
        numbers=np.arange(1, len(table) + 1),
        bad_rows=(),
        folder=Path.cwd(),
        origin={"kind": "table", "path": None},
        held=HeldTable(pa.table(arrays), layout.item if layout.modality == "image" else None),
    )


def _memory_column(table: Any, name: str, *, item: bool) -> Any:
    if isinstance(table, pa.Table):
        return table.column(name)
    values = table[name]
    if not item:
        return arrow_column(values if str(values.dtype) != "object" else list(values))
    return pa.array([as_bytes(value) for value in values], pa.large_binary())


def _store(opened: _Opened, layout: Layout) -> Stored:
    names = NumberedNames("row", opened.numbers)
    if layout.modality == "text":
        return store_texts(opened.item, names)
    if pa.types.is_struct(opened.item.array.type):
        return store_image_rows(ImageStructs(opened.item), names)
    return store_image_paths(
        [value for part in opened.item.slices(8192) for value in part], names, opened.folder
    )


def table_rows(table: Any, column: str | None, role: str) -> Iterator[tuple[str, Any, Path, str | None]]:
    """Rows of a table without labels, in order: name, value (a path or bytes; a text's bytes), the table's
    folder, and why the row cannot be read, or None.
    """
    names, place = _names_of(table)
    if column is None:
        column = guess_item(role, names, place)
    require_column(column, names, role, place)
    layout = Layout(role, column, (), None, None, ())
    opened = _open_file(Path(table), layout) if isinstance(table, str | Path) else _open_memory(table, layout)
    structs = pa.types.is_struct(opened.item.array.type)
    values: Column = ImageStructs(opened.item) if structs else opened.item
    rows = zip(
        opened.numbers.tolist(), (value for part in values.slices(4096) for value in part), strict=True
    )
    good = [(number, value, None) for number, value in rows]
    bad = [(number, None, reason) for number, reason in opened.bad_rows]
    for number, value, reason in sorted([*good, *bad], key=lambda row: row[0]):
        if role == "image" and isinstance(value, bytes) and not structs:
            value = value.decode("utf-8", "surrogateescape").strip()
        yield f"row {number}", value, opened.folder, reason
