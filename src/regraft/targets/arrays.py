"""Targets from arrays of images, or lists of texts, and arrays of labels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from regraft.core.errors import DataError, UsageError
from regraft.targets.arrow_files import arrow_column, as_bytes
from regraft.targets.assemble import Found, assemble
from regraft.targets.channels import channels_last
from regraft.targets.columns import ArrowColumn
from regraft.targets.digests import Digests
from regraft.targets.examples import ImageArrays, to_eight_bits
from regraft.targets.held import HeldArrays, HeldTable
from regraft.targets.labels import tasks_json
from regraft.targets.names import NumberedNames
from regraft.targets.stores import Stored, store_texts
from regraft.targets.target import Target, Tasks, Unreadable

_GROUP = "regraft group"


def from_arrays(X: Any, y: Any, *, groups: Any, tasks: Tasks, drop_rare: bool) -> Target:
    """Images ``(N, H, W)`` or ``(N, H, W, C)``, or texts; labels as an array or a dict of arrays."""
    if y is None:
        raise DataError("no labels were given; call Target.from_arrays(X, y) with one label for each example")
    columns = {name: _label_column(values) for name, values in _outputs(y).items()}
    if groups is not None:
        columns[_GROUP] = arrow_column(list(groups))
    _check_lengths(len(X), columns)
    texts = isinstance(X, list | tuple) and (not X or isinstance(X[0], str | bytes | type(None)))
    table = pa.table(columns)
    options = {"tasks": tasks_json(tasks), "drop_rare": drop_rare}
    if texts:
        return _from_texts(X, table, options)
    return images_from_arrays(np.asanyarray(X), table, options, origin={"kind": "arrays", "path": None})


def _outputs(y: Any) -> dict[str, Any]:
    if isinstance(y, Mapping):
        return {str(name): values for name, values in y.items()}
    return {"label": y}


def _label_column(values: Any) -> Any:
    array = values if isinstance(values, np.ndarray) else None
    if array is not None and array.ndim == 2:
        return _multilabel_column(array)
    if array is not None and array.ndim != 1:
        raise DataError(f"labels have the shape {array.shape}; give (N,), or (N, classes) of 0 and 1")
    # Here not-a-number stays what it is: a missing label is None, and a NaN among values is an error.
    items = array.tolist() if array is not None else list(values)
    plain = [item.item() if isinstance(item, np.generic) else item for item in items]
    try:
        return pa.array(plain, from_pandas=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return arrow_column(plain)


def _multilabel_column(array: np.ndarray) -> Any:
    if not np.isin(array, (0, 1)).all():
        raise DataError(f"labels of the shape {array.shape} have to be 0 and 1, a column for each class")
    return pa.array([np.flatnonzero(row).tolist() for row in array], pa.list_(pa.int64()))


def _check_lengths(count: int, columns: Mapping[str, Any]) -> None:
    wrong = [f"{name} has {len(column)}" for name, column in columns.items() if len(column) != count]
    if wrong:
        raise DataError(f"there are {count} examples, but {', '.join(wrong)}; give one for each example")


def _from_texts(X: Sequence[Any], table: Any, options: dict[str, Any]) -> Target:
    texts = pa.array([as_bytes(value) for value in X], pa.large_binary())
    stored = store_texts(ArrowColumn(texts), NumberedNames("text", np.arange(1, len(X) + 1)))
    names = [name for name in table.column_names if name != _GROUP]
    item = next(name for name in ("text", "the text", "regraft text") if name not in names)
    named = {"label": names, "text": item, "image": None, "split": None}
    group = _GROUP if _GROUP in table.column_names else None
    return _assembled(
        stored,
        table,
        options,
        origin={"kind": "table", "path": None, "options": {**options, **named, "group": group}},
        held=HeldTable(table.append_column(item, pa.chunked_array([texts])), None),
    )


def _assembled(
    stored: Stored, table: Any, options: dict[str, Any], *, sentences: Sequence[str] = (), **rest: Any
) -> Target:
    taken = table.take(pa.array(stored.rows))
    found = Found(
        examples=stored.examples,
        labels={name: taken.column(name) for name in table.column_names if name != _GROUP},
        unreadable=stored.unreadable,
        groups=taken.column(_GROUP) if _GROUP in table.column_names else None,
        sentences=sentences,
        **rest,
    )
    return assemble(found, tasks=options["tasks"], drop_rare=options["drop_rare"])


def images_from_arrays(
    array: np.ndarray, table: Any, options: dict[str, Any], *, origin: dict[str, Any]
) -> Target:
    """A target over an array of images and a table of labels."""
    array, sentences = _with_channels_last(array)
    whole, sentence = image_whole(array)
    stored = _store_images(array, 255.0 / whole)
    return _assembled(
        stored,
        table,
        options,
        sentences=(*sentences, *([sentence] if sentence else [])),
        origin={**origin, "options": options, "whole": whole},
        held=HeldArrays(array, table) if origin["path"] is None else None,
    )


def _with_channels_last(array: np.ndarray) -> tuple[np.ndarray, list[str]]:
    if array.dtype == object or array.dtype.kind not in "uifb":
        raise UsageError(
            f"images have to be numbers; got an array of {array.dtype} (texts go in a list of str)"
        )
    if array.ndim in (3, 4) and 0 not in array.shape[1:]:
        return channels_last(array)
    raise UsageError(
        f"images have the shape {array.shape}; give (N, height, width) or (N, height, width, channels). "
        "Rows of features that are no images are not a target yet; "
        "flat pictures go in as X.reshape(-1, height, width)"
    )


def image_whole(array: np.ndarray) -> tuple[float, str]:
    """The value that stands for white, and the sentence that says so where it had to be guessed."""
    if array.dtype == np.uint8 or not array.size:
        return 255.0, ""
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and np.isfinite(high)):
        raise DataError(
            f"pixel values go from {low:g} to {high:g}; give them within 0..1 or 0..255 "
            "(undo any normalisation)"
        )
    whole = high if high > 0 else 1.0
    if high <= 1:
        whole = 1.0
    elif 128 <= high <= 255:
        whole = 255.0
    elif array.dtype == np.uint16 and high > 255:
        whole = 65535.0
    return whole, f"Pixel values go from {low:g} to {high:g} and are taken for 0..{whole:g}."


def _store_images(array: np.ndarray, scale: float) -> Stored:
    digests, good, bad = [], [], []
    for index, pixels in enumerate(array):
        if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
            bad.append(Unreadable(f"image {index + 1}", "holds values that are not numbers"))
            continue
        small = to_eight_bits(pixels, scale)
        digests.append(hashlib.sha256(f"{small.shape}".encode() + small.tobytes()).digest())
        good.append(index)
    rows = np.array(good, dtype=np.int64)
    names = NumberedNames("image", rows + 1)
    return Stored(ImageArrays(array, scale, rows, names, Digests.from_bytes(digests)), rows, tuple(bad))


def reload_arrays(path: Path, options: dict[str, Any]) -> Target:
    """A target over arrays that were written beside a run."""
    array = np.load(path / "images.npy", mmap_mode="r", allow_pickle=False)
    table = pyarrow.parquet.read_table(path / "labels.parquet")
    return images_from_arrays(array, table, options, origin={"kind": "arrays", "path": str(path)})
