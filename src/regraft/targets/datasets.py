"""Targets from Hugging Face data sets, which are Arrow files already."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from regraft.core.errors import DataError, UsageError
from regraft.core.optional import require
from regraft.targets.assemble import assemble
from regraft.targets.columns import ImageStructs, TableColumns, find_layout, require_column
from regraft.targets.held import HeldDataset
from regraft.targets.labels import tasks_json
from regraft.targets.names import NumberedNames
from regraft.targets.stores import Stored, store_image_rows, store_texts
from regraft.targets.tables import found_in_columns
from regraft.targets.target import Target, Tasks


class DatasetColumn:
    """A column of a Hugging Face data set, read from its files when it is used."""

    def __init__(self, dataset: Any, name: str):
        self.view, self.name = dataset.select_columns([name]).with_format("arrow"), name

    def __len__(self) -> int:
        return len(self.view)

    def __getitem__(self, index: int) -> Any:
        return self.view[index].column(self.name)[0].as_py()

    def slices(self, size: int) -> Iterator[list[Any]]:
        """All values in order, ``size`` at a time."""
        for start in range(0, len(self.view), size):
            yield self.view[start : start + size].column(self.name).to_pylist()


def is_saved_dataset(folder: Path) -> bool:
    """Whether a folder is one that ``save_to_disk`` made."""
    return (folder / "dataset_dict.json").is_file() or (
        (folder / "dataset_info.json").is_file() and (folder / "state.json").is_file()
    )


def from_dataset(dataset: Any, columns: TableColumns, *, tasks: Tasks, drop_rare: bool) -> Target:
    """A ``Dataset`` or ``DatasetDict``, or the folder that one was saved to."""
    library = require("datasets", "Reading Hugging Face data sets", "regraft[hf]")
    path, held = None, None
    if isinstance(dataset, str | Path):
        path = Path(dataset).expanduser().resolve()
        dataset = _from_disk(library, path)
    else:
        held = HeldDataset(dataset)
    rows, splits = _joined(library, dataset)
    layout = find_layout(columns, rows.column_names, "the data set")
    options = {**columns.to_json(), "tasks": tasks_json(tasks), "drop_rare": drop_rare}
    others = {name: _label_values(library, rows, name) for name in layout.others}
    stored = _store(library, rows, layout.modality, layout.item)
    found = found_in_columns(
        stored,
        layout,
        others,
        origin={"kind": "dataset", "path": str(path) if path else None, "options": options},
        held=held,
    )
    if splits is not None and layout.split is None:
        from dataclasses import replace

        found = replace(found, splits=[splits[row] for row in stored.rows])
    return assemble(found, tasks=tasks, drop_rare=drop_rare)


def _from_disk(library: Any, path: Path) -> Any:
    if not path.is_dir() or not is_saved_dataset(path):
        raise DataError(
            f"{path} is not a folder that datasets' save_to_disk made; for class folders use "
            "Target.from_images, for a csv, parquet or jsonl file Target.from_table"
        )
    return library.load_from_disk(str(path))


def _joined(library: Any, dataset: Any) -> tuple[Any, list[str] | None]:
    """One data set, and for each row the split it came from."""
    if isinstance(dataset, library.DatasetDict):
        names = list(dataset)
        words = [name for name in names for _ in range(len(dataset[name]))]
        return library.concatenate_datasets([dataset[name] for name in names]), words
    if isinstance(dataset, library.Dataset):
        return dataset, None
    raise UsageError(f"from_dataset takes a Dataset, a DatasetDict or a folder; got {type(dataset).__name__}")


def saved_column(path: Path, name: str) -> Any:
    """A column of a saved data set, all its splits one behind the other; named classes by their names."""
    library = require("datasets", "Reading Hugging Face data sets", "regraft[hf]")
    rows, _ = _joined(library, _from_disk(library, path))
    require_column(name, rows.column_names, "slices'", str(path))
    return _label_values(library, rows, name)


def _label_values(library: Any, rows: Any, name: str) -> Any:
    """A column of labels; numbers of named classes become their names."""
    values = rows.select_columns([name]).with_format("arrow")[:].column(name).combine_chunks()
    feature = rows.features[name]
    inner = getattr(feature, "feature", None)
    if isinstance(feature, library.ClassLabel):
        words = [None if value is None or value < 0 else feature.names[value] for value in values.to_pylist()]
        return pa.array(words, pa.string()).dictionary_encode()
    if isinstance(inner, library.ClassLabel):
        lists = values.to_pylist()
        return pa.array([None if row is None else [inner.names[value] for value in row] for row in lists])
    return values


def _store(library: Any, rows: Any, modality: str, item: str) -> Stored:
    names = NumberedNames("row", np.arange(1, len(rows) + 1))
    if modality == "text":
        return store_texts(DatasetColumn(rows, item), names)
    if isinstance(rows.features[item], library.Image):
        rows = rows.cast_column(item, library.Image(decode=False))
    return store_image_rows(ImageStructs(DatasetColumn(rows, item)), names)
