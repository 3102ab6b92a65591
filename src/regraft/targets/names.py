"""Names of many examples: made when asked for, so that five million of them take no memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import numpy as np


class NumberedNames(Sequence[str]):
    """A list-like of names such as ``row 17`` over an array of numbers."""

    def __init__(self, word: str, numbers: np.ndarray):
        self.word = word
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [f"{self.word} {number}" for number in self.numbers[index]]
        return f"{self.word} {self.numbers[index]}"


class JoinedNames(Sequence[str]):
    """A list-like of names of several lists, ``WORD/NAME``; ``store`` and ``row`` say where each stands."""

    def __init__(
        self, words: tuple[str, ...], lists: tuple[Sequence[str], ...], store: np.ndarray, row: np.ndarray
    ):
        self.words = words
        self.lists = lists
        self.store = store
        self.row = row

    def __len__(self) -> int:
        return len(self.row)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[place] for place in range(len(self))[index]]
        store = int(self.store[index])
        return f"{self.words[store]}/{self.lists[store][int(self.row[index])]}"


def are_numbered(names: Sequence[str]) -> bool:
    """Whether names are numbers of rows, which say nothing once a row is gone."""
    if isinstance(names, JoinedNames):
        return any(are_numbered(some) for some in names.lists)
    return isinstance(names, NumberedNames)


def select_names(names: Sequence[str], indices: np.ndarray) -> Sequence[str]:
    """The names at the given indices, made lazily where they were."""
    if isinstance(names, NumberedNames):
        return NumberedNames(names.word, names.numbers[indices])
    if isinstance(names, JoinedNames):
        return JoinedNames(names.words, names.lists, names.store[indices], names.row[indices])
    return [names[index] for index in indices]
