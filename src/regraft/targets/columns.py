"""Which column is what: as asked for, or guessed by name; and columns that can be larger than memory."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from regraft.core.errors import DataError, UsageError

_LABEL_NAMES = ("label", "target", "class", "y")
_IMAGE_NAMES = ("image", "image_path", "img", "path", "file", "filename", "file_name", "filepath")
_TEXT_NAMES = ("text", "sentence", "review", "content", "body", "description", "summary", "title")


@dataclass(frozen=True)
class TableColumns:
    """The columns that were named; None where none was."""

    label: str | Sequence[str] | None = None
    image: str | None = None
    text: str | None = None
    group: str | None = None
    split: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        label = self.label if self.label is None or isinstance(self.label, str) else list(self.label)
        return {**asdict(self), "label": label}


@dataclass(frozen=True)
class Layout:
    """The columns that are used: one with the examples, those with labels, and perhaps group and split."""

    modality: str
    item: str
    labels: tuple[str, ...]
    group: str | None
    split: str | None
    sentences: tuple[str, ...]

    @property
    def others(self) -> tuple[str, ...]:
        """All columns but the examples' own, each once."""
        names = (*self.labels, *(name for name in (self.group, self.split) if name))
        return tuple(dict.fromkeys(names))


def find_layout(columns: TableColumns, names: Sequence[str], place: str) -> Layout:
    """Check the named columns against those there are, and guess the others."""
    if columns.image is not None and columns.text is not None:
        raise UsageError(
            f"image={columns.image!r} and text={columns.text!r} were both given; give one of them"
        )
    sentences: list[str] = []
    labels = [columns.label] if isinstance(columns.label, str) else list(columns.label or ())
    for role, name in _named(columns, labels):
        require_column(name, names, role, place)
    if not labels:
        labels = [_guess("label", _LABEL_NAMES, names, place, sentences)]
    taken = {*labels, columns.group, columns.split}
    modality, item = _find_item(
        columns, [name for name in names if name not in taken], names, place, sentences
    )
    return Layout(modality, item, tuple(labels), columns.group, columns.split, tuple(sentences))


def _named(columns: TableColumns, labels: Sequence[str]) -> Iterator[tuple[str, str]]:
    yield from (("label", name) for name in labels)
    for role in ("image", "text", "group", "split"):
        name = getattr(columns, role)
        if name is not None:
            yield role, name


def require_column(name: str, names: Sequence[str], role: str, place: str) -> None:
    """Raise ``DataError`` with the columns there are, the nearest first, unless ``name`` is one of them."""
    if name in names:
        return
    near = sorted(
        names, key=lambda there: -difflib.SequenceMatcher(None, name.lower(), there.lower()).ratio()
    )
    raise DataError(f"there is no {role} column {name!r} in {place}; the columns are {', '.join(near)}")


def _guess(role: str, known: Sequence[str], names: Sequence[str], place: str, sentences: list[str]) -> str:
    lower = {name.lower(): name for name in reversed(names)}
    found = next((lower[name] for name in known if name in lower), None)
    if found is None:
        raise DataError(
            f"no column of {place} is called {', '.join(known[:-1])} or {known[-1]}; say which holds the "
            f"{role} with {role}=. The columns are {', '.join(names)}"
        )
    sentences.append(f"The column {found!r} is taken for the {role}; name another one with {role}=.")
    return found


def _find_item(
    columns: TableColumns, free: Sequence[str], names: Sequence[str], place: str, sentences: list[str]
) -> tuple[str, str]:
    if columns.image is not None:
        return "image", columns.image
    if columns.text is not None:
        return "text", columns.text
    lower = {name.lower(): name for name in reversed(free)}
    for modality, known in (("image", _IMAGE_NAMES), ("text", _TEXT_NAMES)):
        found = next((lower[name] for name in known if name in lower), None)
        if found is not None:
            sentences.append(
                f"The column {found!r} is taken for the {modality}s; name another with {modality}=."
            )
            return modality, found
    raise DataError(
        f"no column of {place} is called like images or texts; say which holds them with image= (paths) or "
        f"text=. The columns are {', '.join(names)}"
    )


def guess_item(role: str, names: Sequence[str], place: str) -> str:
    """The column that holds images or texts where none was named: the one called so, or the only one."""
    if len(names) == 1:
        return names[0]
    return _guess(role, _IMAGE_NAMES if role == "image" else _TEXT_NAMES, names, place, [])


class Column(Protocol):
    """A column of a table that may be larger than memory."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...
    def slices(self, size: int) -> Iterator[list[Any]]:
        """All values in order, ``size`` at a time."""
        ...


class ArrowColumn:
    """A column of an Arrow table: in memory, or mapped from an Arrow file, which it then travels by."""

    def __init__(self, array: Any, path: Path | None = None, name: str = ""):
        self.array, self.path, self.name = array, path, name

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, index: int) -> Any:
        return self.array[index].as_py()

    def slices(self, size: int) -> Iterator[list[Any]]:
        """All values in order, ``size`` at a time."""
        for start in range(0, len(self.array), size):
            yield self.array.slice(start, size).to_pylist()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "array": self.array if self.path is None else None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.path is not None:
            from regraft.targets.arrow_files import mapped_table

            self.array = mapped_table(self.path).column(self.name)


class ImageStructs:
    """A column of images as Hugging Face keeps them, ``{"bytes", "path"}``: the bytes, or else the path."""

    def __init__(self, column: Column):
        self.column = column

    def __len__(self) -> int:
        return len(self.column)

    def __getitem__(self, index: int) -> bytes | str | None:
        return _bytes_or_path(self.column[index])

    def slices(self, size: int) -> Iterator[list[Any]]:
        """All values in order; fewer at a time than texts, for they are larger."""
        for values in self.column.slices(min(size, 64)):
            yield [_bytes_or_path(value) for value in values]


def _bytes_or_path(value: Any) -> bytes | str | None:
    if not isinstance(value, dict):
        return value
    return value.get("bytes") if value.get("bytes") is not None else value.get("path")
