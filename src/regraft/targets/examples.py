"""Stores of examples: where each example's bytes are found; nothing is decoded, little held."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np

from regraft.targets.digests import Digests
from regraft.targets.names import select_names

ImageData = str | bytes | np.ndarray
"""An undecoded image: the path of a file, the bytes of one, or pixels ``uint8 (H, W[, C])``."""


class Examples(Protocol):
    """What every store of examples has."""

    modality: ClassVar[str]

    @property
    def names(self) -> Sequence[str]:
        """What a person calls each example."""
        ...

    @property
    def hashes(self) -> Digests:
        """Content hash of each example."""
        ...

    def __len__(self) -> int: ...

    def select(self, indices: np.ndarray) -> Examples:
        """A store of the examples at these indices."""
        ...

    def raw(self, index: int) -> Any:
        """One example as it was found: image data or text."""
        ...


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """Images as files."""

    modality: ClassVar[str] = "image"
    paths: Sequence[str] = field(repr=False)
    names: Sequence[str] = field(repr=False)
    hashes: Digests = field(repr=False)

    def __len__(self) -> int:
        return len(self.paths)

    def select(self, indices: np.ndarray) -> ImageFiles:
        """A store of the files at these indices."""
        paths = [self.paths[index] for index in indices]
        return ImageFiles(paths, select_names(self.names, indices), self.hashes.select(indices))

    def raw(self, index: int) -> str:
        """The file's path."""
        return self.paths[index]


@dataclass(frozen=True, eq=False)
class ImageArrays:
    """Images as one array ``(N, H, W)`` or ``(N, H, W, C)``, turned into 8 bits when asked for."""

    modality: ClassVar[str] = "image"
    array: np.ndarray = field(repr=False)
    scale: float
    rows: np.ndarray = field(repr=False)
    names: Sequence[str] = field(repr=False)
    hashes: Digests = field(repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, indices: np.ndarray) -> ImageArrays:
        """A store of the images at these indices; the array is shared."""
        names = select_names(self.names, indices)
        return ImageArrays(self.array, self.scale, self.rows[indices], names, self.hashes.select(indices))

    def raw(self, index: int) -> np.ndarray:
        """The image's pixels, ``uint8``."""
        return to_eight_bits(self.array[self.rows[index]], self.scale)


def to_eight_bits(pixels: np.ndarray, scale: float) -> np.ndarray:
    """Pixels times ``scale`` as ``uint8``; bytes at scale 1 stay as they are."""
    if pixels.dtype == np.uint8 and scale == 1:
        return np.ascontiguousarray(pixels)
    return np.clip(np.rint(pixels.astype(np.float64) * scale), 0, 255).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class ImageRows:
    """Images as bytes in a column that can be larger than memory."""

    modality: ClassVar[str] = "image"
    column: Sequence[Any] = field(repr=False)
    rows: np.ndarray = field(repr=False)
    names: Sequence[str] = field(repr=False)
    hashes: Digests = field(repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, indices: np.ndarray) -> ImageRows:
        """A store of the images at these indices; the column is shared."""
        names = select_names(self.names, indices)
        return ImageRows(self.column, self.rows[indices], names, self.hashes.select(indices))

    def raw(self, index: int) -> bytes | str:
        """The image file's bytes, or its path where the column holds one."""
        value: bytes | str = self.column[int(self.rows[index])]
        return value


@dataclass(frozen=True, eq=False)
class Texts:
    """Texts in a column of UTF-8 bytes that can be larger than memory."""

    modality: ClassVar[str] = "text"
    column: Sequence[Any] = field(repr=False)
    rows: np.ndarray = field(repr=False)
    names: Sequence[str] = field(repr=False)
    hashes: Digests = field(repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, indices: np.ndarray) -> Texts:
        """A store of the texts at these indices; the column is shared."""
        names = select_names(self.names, indices)
        return Texts(self.column, self.rows[indices], names, self.hashes.select(indices))

    def raw(self, index: int) -> str:
        """The text."""
        value = self.column[int(self.rows[index])]
        return value if isinstance(value, str) else bytes(value).decode("utf-8")

    def batches(self, size: int) -> Iterator[list[str]]:
        """All texts in order, ``size`` at a time."""
        for start in range(0, len(self), size):
            yield [self.raw(index) for index in range(start, min(start + size, len(self)))]
