"""Stores made of several stores: the examples of targets that are put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from regraft.targets.digests import Digests
from regraft.targets.examples import Examples, ImageData, Texts
from regraft.targets.names import JoinedNames, select_names


@dataclass(frozen=True, eq=False)
class Places:
    """Where each example lies: ``store`` says in which store, ``row`` where in it, both ``int64 (N,)``."""

    store: np.ndarray
    row: np.ndarray

    def __len__(self) -> int:
        return len(self.store)

    def select(self, indices: np.ndarray) -> Places:
        """Those at the given indices."""
        return Places(self.store[indices], self.row[indices])


@dataclass(frozen=True, eq=False)
class JoinedImages:
    """Images of several stores, each read where it lies."""

    modality: ClassVar[str] = "image"
    stores: tuple[Examples, ...] = field(repr=False)
    places: Places = field(repr=False)
    names: Sequence[str] = field(repr=False)
    hashes: Digests = field(repr=False)

    def __len__(self) -> int:
        return len(self.places)

    def select(self, indices: np.ndarray) -> JoinedImages:
        """A store of the images at these indices; what they lie in is shared."""
        names = select_names(self.names, indices)
        return JoinedImages(self.stores, self.places.select(indices), names, self.hashes.select(indices))

    def raw(self, index: int) -> ImageData:
        """The image as its own store gives it."""
        place = self.places
        found: ImageData = self.stores[int(place.store[index])].raw(int(place.row[index]))
        return found


class _Column(Sequence[Any]):
    """The texts of several stores as one column; nothing is copied."""

    def __init__(self, stores: tuple[Examples, ...], places: Places):
        self.stores = stores
        self.places = places

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, row: Any) -> Any:
        return self.stores[int(self.places.store[row])].raw(int(self.places.row[row]))


def join_stores(names: Sequence[str], stores: Sequence[Examples], places: Places) -> Examples:
    """One store over several of one modality; an example's name begins with the name of its store."""
    kept = tuple(stores)
    named = JoinedNames(tuple(names), tuple(store.names for store in kept), places.store, places.row)
    counts = [len(store) for store in kept]
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)
    every = Digests(np.concatenate([store.hashes.array for store in kept]))
    hashes = every.select(starts[places.store] + places.row)
    if kept[0].modality == "text":
        return Texts(_Column(kept, places), np.arange(len(places)), named, hashes)
    return JoinedImages(kept, places, named, hashes)
