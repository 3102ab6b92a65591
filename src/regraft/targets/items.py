"""Items to predict: files, folders, globs, tables, texts, arrays and pictures, in the order given."""

from __future__ import annotations

import glob
import hashlib
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from regraft.core.errors import DataError
from regraft.core.inputs import Inputs
from regraft.core.preprocessing import ImagePreprocessing, Preprocessing, TextPreprocessing
from regraft.targets.decoding import PICTURE_CHANNELS
from regraft.targets.digests import Digests
from regraft.targets.examples import ImageData, to_eight_bits
from regraft.targets.files import hash_files, is_litter, reason_of
from regraft.targets.pixel_cache import PixelCache, decoding_processes

_MOST_PARTS = 64  # what has to be looked up for each part stays little


@dataclass(frozen=True)
class Items:
    """Items to predict.

    Attributes
    ----------
    names
        One for each item, in the order given; a folder, a glob or a table is many items.
    inputs
        Of the readable items only, in order.
    readable
        ``int64``: indices into ``names`` that ``inputs`` is aligned with.
    errors
        The reason of each other item, by its index into ``names``.
    hashes
        Content hash of each readable item, aligned with ``inputs``.
    """

    names: list[str]
    inputs: Inputs
    readable: np.ndarray
    errors: dict[int, str]
    hashes: Digests


@dataclass(frozen=True, eq=False)
class Listed:
    """Items that were found and not read yet.

    Attributes
    ----------
    names
        One for each item, in the order given.
    """

    names: list[str]
    _items: list[_Item]
    _preprocessing: Preprocessing

    def __len__(self) -> int:
        return len(self.names)

    def read(self, start: int = 0, stop: int | None = None) -> Items:
        """Read the items from ``start`` up to ``stop``; in the answer they are counted from zero."""
        some = self._items[start:stop]
        if isinstance(self._preprocessing, ImagePreprocessing):
            return _read_images(some, self._preprocessing)
        return _read_texts(some, self._preprocessing)

    def parts(self) -> Iterator[Items]:
        """All items, a part at a time, for whoever runs a network on one part while the next is read."""
        with decoding_processes():
            for start, stop in bounds(len(self), self._preprocessing):
                yield self.read(start, stop)


@dataclass(frozen=True)
class _Item:
    name: str
    data: Any
    error: str | None = None


def bounds(count: int, preprocessing: Preprocessing) -> Iterator[tuple[int, int]]:
    """Where parts of ``count`` items begin and end: small ones first, so that nobody waits for long.

    All but the last are whole batches. Texts are read in a moment, and come in batches of several lengths, so
    theirs are larger; the more items, the larger all parts are.
    """
    image = isinstance(preprocessing, ImagePreprocessing)
    size, largest = (64, 128) if image else (2048, 4096)
    largest = max(largest, count // _MOST_PARTS // 32 * 32)
    start = 0
    while start < count:
        yield start, min(start + size, count)
        start, size = start + size, min(2 * size, largest)


def read_items(
    items: Any, preprocessing: Preprocessing, *, column: str | None = None, whole: float | None = None
) -> Items:
    """All items at once, as a network with this preprocessing reads them; see :func:`list_items`."""
    return list_items(items, preprocessing, column=column, whole=whole).read()


def list_items(
    items: Any, preprocessing: Preprocessing, *, column: str | None = None, whole: float | None = None
) -> Listed:
    """Items for a network with this preprocessing.

    For images: paths of files, folders and globs, arrays, pictures, bytes; for texts: texts, and paths of
    ``.txt`` files. For both: tables, whose ``column`` holds the paths or the texts.
    ``whole`` is the value that stands for white in arrays, as in ``target.origin["whole"]``; None guesses it.
    """
    if isinstance(preprocessing, ImagePreprocessing):
        found = list(_image_items(_as_list(items), column, whole, preprocessing.channels))
    else:
        found = list(_text_items(_as_list(items), column))
    return Listed([item.name for item in found], found, preprocessing)


def _as_list(items: Any) -> Iterable[Any]:
    if isinstance(items, np.ndarray) and items.ndim > 1:
        return [items]
    if isinstance(items, str | bytes | Path) or hasattr(items, "mode") or hasattr(items, "columns"):
        return [items]
    return items


def _image_items(
    items: Iterable[Any], column: str | None, whole: float | None, channels: int
) -> Iterator[_Item]:
    for item in items:
        if isinstance(item, str | Path):
            yield from _images_at(os.fspath(item), column)
        elif isinstance(item, np.ndarray):
            yield from _images_in_array(item, whole, channels)
        elif isinstance(item, bytes):
            yield _Item("image", item)
        elif hasattr(item, "columns"):
            yield from _table_items(item, column, "image")
        elif hasattr(item, "convert") and hasattr(item, "tobytes"):
            yield _Item(str(getattr(item, "filename", "") or "image"), _picture_bytes(item))
        else:
            yield _Item(repr(item)[:80], None, f"{type(item).__name__} is not an image, a path or an array")


def _images_at(path: str, column: str | None) -> Iterator[_Item]:
    place = os.path.expanduser(path)
    if os.path.isdir(place):
        yield from (_Item(file, file) for file in _files_below(place))
    elif _is_table(place):
        yield from _table_items(place, column, "image")
    elif not os.path.lexists(place) and glob.has_magic(place):
        matches = sorted(glob.glob(place, recursive=True))
        for match in matches:
            yield from _images_at(match, column)
        if not matches:
            yield _Item(path, None, "no file matches this pattern")
    else:
        yield _Item(path, place)


def _files_below(folder: str) -> Iterator[str]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_litter(name))
        yield from (os.path.join(place, name) for name in sorted(names) if not is_litter(name))


def _is_table(place: str) -> bool:
    from regraft.targets.arrow_files import TABLE_SUFFIXES

    return os.path.isfile(place) and place.lower().endswith(TABLE_SUFFIXES)


def _images_in_array(array: np.ndarray, whole: float | None, channels: int) -> Iterator[_Item]:
    """One image, or a batch of them: ``(N, H, W)`` unless the last side is a number of channels."""
    from regraft.targets.arrays import image_whole
    from regraft.targets.channels import channels_last

    if array.ndim not in (2, 3, 4):
        yield _Item("array", None, f"an array of the shape {array.shape} is no image and no images")
        return
    single = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (channels, *PICTURE_CHANNELS))
    batch, _ = channels_last(array[None] if single else array)
    try:
        scale = 255.0 / (whole or image_whole(batch)[0]) if batch.dtype != np.uint8 else 1.0
    except DataError as error:
        yield _Item("array", None, str(error))
        return
    for index, pixels in enumerate(batch):
        yield _Item("array" if single else f"array {index + 1}", to_eight_bits(pixels, scale))


def _picture_bytes(picture: Any) -> bytes:
    """A PIL picture as the bytes of a PNG or TIFF, so that it goes the way of every file."""
    import io

    stream = io.BytesIO()
    lossless = "PNG" if picture.mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16") else "TIFF"
    picture.save(stream, lossless)
    return stream.getvalue()


def _table_items(table: Any, column: str | None, role: str) -> Iterator[_Item]:
    """A row is an item; rows that cannot be read are items with an error, in their place."""
    from regraft.targets.tables import table_rows

    for name, value, folder, error in table_rows(table, column, role):
        if error is not None or role == "text":
            yield _Item(name, value, error)
        elif isinstance(value, str):
            yield _Item(
                name, str(folder / value) if value else None, None if value else "no path in this row"
            )
        else:
            yield _Item(name, value, None if value else "missing image")


def _read_images(items: Sequence[_Item], preprocessing: ImagePreprocessing) -> Items:
    """Decoded into a folder that goes with the inputs: predictions leave nothing in the cache."""
    from regraft.targets.image_inputs import ImageInputs, geometry_of

    errors = {index: item.error for index, item in enumerate(items) if item.error}
    digests = _image_digests(items, errors)
    places = np.array(sorted(digests), dtype=np.int64)
    hashes = Digests.from_bytes(digests[place] for place in places)
    folder = Path(tempfile.mkdtemp(prefix="regraft-items-"))
    cache = PixelCache(folder, geometry_of(preprocessing), shared=False)
    data: list[ImageData] = [items[place].data for place in places]
    bad = cache.decode(hashes.array, data, workers=None)
    errors.update({int(places[index]): reason for index, reason in bad.items()})
    good = np.array([index for index in range(len(places)) if index not in bad], dtype=np.int64)
    readable, kept = places[good], hashes.select(good)
    names = [item.name for item in items]
    inputs = ImageInputs([names[index] for index in readable], kept, cache.find(kept.array), preprocessing)
    weakref.finalize(inputs, shutil.rmtree, folder, True)
    return Items(names, inputs, readable, dict(sorted(errors.items())), kept)


def _image_digests(items: Sequence[_Item], errors: dict[int, str]) -> dict[int, bytes]:
    """Content hashes of what can be opened; adds the reasons of the rest to ``errors``."""
    digests: dict[int, bytes] = {}
    files = [index for index, item in enumerate(items) if not item.error and isinstance(item.data, str)]
    hashed, reasons = hash_files(
        [items[index].data for index in files], [items[index].name for index in files]
    )
    errors.update({files[place]: reason for place, reason in reasons.items()})
    for place, index in enumerate(files):
        digest = hashed[place]
        if digest is not None:
            digests[index] = digest
    for index, item in enumerate(items):
        if isinstance(item.data, np.ndarray):
            digests[index] = hashlib.sha256(f"{item.data.shape}".encode() + item.data.tobytes()).digest()
        elif isinstance(item.data, bytes) and not item.error:
            digests[index] = hashlib.sha256(item.data).digest()
    return digests


def _text_items(items: Iterable[Any], column: str | None) -> Iterator[_Item]:
    for item in items:
        if isinstance(item, Path) or (isinstance(item, str) and len(item) < 4096 and _is_text_place(item)):
            yield from _texts_at(Path(item).expanduser(), column)
        elif hasattr(item, "columns"):
            yield from _table_items(item, column, "text")
        else:
            yield _Item(_text_name(item), item)


def _is_text_place(item: str) -> bool:
    """A text may look like anything; it names a place only where one is there, or ends like one."""
    if "\n" in item or not item.strip() or "\0" in item:
        return False
    place = os.path.expanduser(item)
    return _is_table(place) or (item.endswith(".txt") and " " not in item) or os.path.isdir(place)


def _text_name(item: Any) -> str:
    from regraft.targets.thumbnails import shortened

    return shortened(item, 80) if isinstance(item, str) else repr(item)[:80]


def _texts_at(path: Path, column: str | None) -> Iterator[_Item]:
    if path.is_dir():
        for file in _files_below(str(path)):
            if file.endswith(".txt"):
                yield from _texts_at(Path(file), column)
        return
    if _is_table(str(path)):
        yield from _table_items(path, column, "text")
        return
    try:
        yield _Item(str(path), path.read_bytes())
    except OSError as error:
        yield _Item(str(path), None, reason_of(error))


def _read_texts(items: Sequence[_Item], preprocessing: TextPreprocessing) -> Items:
    from regraft.targets.arrow_files import as_bytes
    from regraft.targets.stores import text_reason
    from regraft.targets.text_inputs import TextInputs, tokenise_here

    errors: dict[int, str] = {}
    texts: dict[int, bytes] = {}
    for index, item in enumerate(items):
        data = None if item.error else as_bytes(item.data)
        reason = item.error or text_reason(data)
        if reason or data is None:
            errors[index] = str(reason)
        else:
            texts[index] = data
    readable = np.array(sorted(texts), dtype=np.int64)
    hashes = Digests.from_bytes(hashlib.sha256(texts[index]).digest() for index in readable)
    names = [item.name for item in items]
    tokens = tokenise_here([texts[index].decode("utf-8") for index in readable], preprocessing)
    inputs = TextInputs([names[index] for index in readable], hashes, tokens, preprocessing)
    return Items(names, inputs, readable, errors, hashes)
