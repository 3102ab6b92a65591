"""Begun: an item that a worker has, and how often one had it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic

from regraft.core.executors.executor import Item


@dataclass
class Begun(Generic[Item]):
    """An item that a worker has.

    Attributes
    ----------
    place, item
        Which one.
    tries
        How often it was begun.
    """

    place: int
    item: Item
    tries: int = 0


def next_of(fresh: Iterator[tuple[int, Item]]) -> Begun[Item] | None:
    """The next item, or None; asking for it may decide that there is none."""
    found = next(fresh, None)
    return None if found is None else Begun(*found)
