"""Columns that no model reads: what else the data say of each example, for looking at figures in slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from regraft.core.errors import DataError, UsageError
from regraft.targets.names import JoinedNames, NumberedNames
from regraft.targets.parts import part_of

if TYPE_CHECKING:
    from regraft.targets.target import Target

FOLDER = "folder"
"""What is asked for to get the folders that images lie in below those of their classes."""


def columns_aside(target: Target, names: Sequence[str]) -> dict[str, list[str | None]]:
    """The values of columns for each example of a target, as words; None where there is none.

    Parameters
    ----------
    names
        Columns of the table or saved data set that the target was loaded from; ``folder`` of a folder of
        images: the folders below that of the class, ``oak/camera-2/x.jpg`` lies in ``camera-2``. Of targets
        together ``MEMBER.COLUMN``, which the examples of other members have no value of.

    Raises
    ------
    DataError
        For a column that is not there.
    UsageError
        For data without columns, or that lived in memory only.
    """
    return {name: _column(target, name) for name in dict.fromkeys(names)}


def _column(target: Target, name: str) -> list[str | None]:
    named, origin = target.examples.names, target.origin
    if not isinstance(named, JoinedNames):
        return _values(origin, name, named, target.held)
    member, _, own = name.partition(".")
    if member not in named.words or not own:
        raise UsageError(
            f"slices by {name!r}: these are several targets, {', '.join(named.words)}; write "
            f"{named.words[0]}.COLUMN"
        )
    store = named.words.index(member)
    inside = np.flatnonzero(named.store == store)
    values = _values(origin["members"][member], own, _rows(named.lists[store], named.row[inside]), None)
    found: list[str | None] = [None] * len(named)
    for place, value in zip(inside, values, strict=True):
        found[int(place)] = value
    return found


def _rows(names: Sequence[str], rows: np.ndarray) -> Sequence[str]:
    if isinstance(names, NumberedNames):
        return NumberedNames(names.word, names.numbers[rows])
    return [names[int(row)] for row in rows]


def _values(origin: Mapping[str, Any], name: str, names: Sequence[str], held: Any) -> list[str | None]:
    """The column's value for each of the named examples of one set of data."""
    kind, path = origin.get("kind"), origin.get("path")
    if kind == "images":
        return _folders(name, names)
    rows = isinstance(names, NumberedNames) and names.word == "row"
    if kind == "table" and path is not None and not rows:
        return _by_path(Path(path), name, names, (origin.get("options") or {}).get("image"))
    if kind not in ("table", "dataset") or not rows:
        raise UsageError(
            f"slices by {name!r}: arrays have no columns. Use a table, with a row for each example"
        )
    if path is None:
        raise UsageError(
            f"slices by {name!r}: these data live in memory, and only the columns that are read were kept of "
            "them. Write them to a file (frame.to_parquet('data.parquet')) and load that"
        )
    numbers = names.numbers  # type: ignore[attr-defined]
    column = _table_column(Path(path), name) if kind == "table" else _dataset_column(Path(path), name)
    return [_word(value) for value in column.take(pa.array(numbers - 1)).to_pylist()]


def _folders(name: str, names: Sequence[str]) -> list[str | None]:
    if name != FOLDER:
        raise UsageError(
            f"slices by {name!r}: a folder of images has no columns; slices by {FOLDER!r} are by the folders "
            "below that of the class"
        )
    split = all(part_of(one.split("/")[0]) is not None and one.count("/") > 1 for one in names)
    places = ["/".join(one.split("/")[1 + split : -1]) or None for one in names]
    if not any(places):
        raise DataError(
            f"slices by {FOLDER!r}: all images lie in the folder of their class itself, none in one below it"
        )
    return places


def _table_column(path: Path, name: str) -> Any:
    """The column with a row for every row of the file: those that cannot be read have no value."""
    from regraft.targets.arrow_files import open_table_file, table_column_names
    from regraft.targets.columns import require_column

    require_column(name, table_column_names(path), "slices'", str(path))
    file = open_table_file(path, name, [])
    column = file.table.column(name)
    if not file.bad_rows:
        return column
    total = file.table.num_rows + len(file.bad_rows)
    good = np.setdiff1d(np.arange(total), [number - 1 for number, _ in file.bad_rows])
    place = np.full(total, -1)
    place[good[: file.table.num_rows]] = np.arange(file.table.num_rows)
    return column.take(pa.array(place, mask=place < 0))


def _by_path(path: Path, name: str, names: Sequence[str], images: str | None) -> list[str | None]:
    """The column of a table of image paths, by which its examples are named; None where rows disagree."""
    from regraft.targets.arrow_files import table_column_names
    from regraft.targets.columns import guess_item

    images = images or guess_item("image", table_column_names(path), str(path))
    found: dict[str, set[str | None]] = {}
    for item, value in zip(
        _table_column(path, images).to_pylist(), _table_column(path, name).to_pylist(), strict=True
    ):
        found.setdefault((_word(item) or "").strip(), set()).add(_word(value))
    return [next(iter(values)) if len(values := found.get(one, set())) == 1 else None for one in names]


def _dataset_column(path: Path, name: str) -> Any:
    from regraft.targets.datasets import saved_column

    return saved_column(path, name)


def _word(value: Any) -> str | None:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if value is None or value == "" or value != value:
        return None
    return str(value)
