"""Data that live in memory only, and how they are written beside a run so that it can find them again."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from regraft.core.files import atomic_path


class Held(Protocol):
    """Data in memory that can be written to a folder."""

    def write(self, folder: Path) -> dict[str, Any]:
        """Write the data and give the fields of the origin that say where they are now."""
        ...


@dataclass(frozen=True, eq=False)
class HeldTable:
    """Columns of a table that was handed over in memory; ``images`` is a column of paths."""

    table: Any = field(repr=False)
    images: str | None

    def write(self, folder: Path) -> dict[str, Any]:
        """As ``data.parquet``. Paths of images are made absolute, for the table moves away from them."""
        import pyarrow as pa
        import pyarrow.parquet

        table = self.table
        if self.images is not None:
            place = table.column_names.index(self.images)
            paths = [_absolute(value) for value in table.column(self.images).to_pylist()]
            table = table.set_column(place, self.images, pa.array(paths))
        path = folder / "data.parquet"
        with atomic_path(path) as part:
            pa.parquet.write_table(table, part)
        return {"kind": "table", "path": str(path.resolve())}


def _absolute(value: Any) -> Any:
    if not isinstance(value, str | bytes) or not value:
        return value
    return os.path.abspath(os.fsdecode(value))


@dataclass(frozen=True, eq=False)
class HeldArrays:
    """Arrays that were handed over in memory: images as pixels, labels (and groups) as columns."""

    pixels: np.ndarray = field(repr=False)
    columns: Any = field(repr=False)

    def write(self, folder: Path) -> dict[str, Any]:
        """As ``images.npy`` and ``labels.parquet``."""
        import pyarrow.parquet

        folder = folder.resolve()
        with atomic_path(folder / "images.npy") as part, open(part, "wb") as stream:
            np.save(stream, self.pixels, allow_pickle=False)
        with atomic_path(folder / "labels.parquet") as part:
            pyarrow.parquet.write_table(self.columns, part)
        return {"kind": "arrays", "path": str(folder)}


@dataclass(frozen=True, eq=False)
class HeldDataset:
    """A Hugging Face data set that was handed over in memory."""

    dataset: Any = field(repr=False)

    def write(self, folder: Path) -> dict[str, Any]:
        """As Hugging Face saves it, in ``dataset/``."""
        path = (folder / "dataset").resolve()
        if not path.exists():
            self.dataset.save_to_disk(str(path))
        return {"kind": "dataset", "path": str(path)}
