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


def select_names(names: Sequence[str], indices: np.ndarray) -> Sequence[str]:
    """The names at the given indices, made lazily where they were."""
    if isinstance(names, NumberedNames):
        return NumberedNames(names.word, names.numbers[indices])
    return [names[index] for index in indices]
