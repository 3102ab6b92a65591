"""Checkpoint: named tensors that are read one at a time."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from regraft.core.errors import SourceError
from regraft.sources.checkpoint.limits import MAX_NAME, MAX_TENSORS

Layout = Literal["torch", "keras", "onnx", "numpy"]
"""Whose conventions the tensors follow; Keras stores a linear layer's weight as (inputs, outputs)."""

_CHUNK = 1 << 22  # elements that are looked at together


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of a checkpoint: what is known without reading it, and how it is read."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], Tensor]

    @property
    def size(self) -> int:
        """Bytes of the tensor in memory."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize


@final
class Checkpoint:
    """Named tensors of a checkpoint that are read one at a time.

    Attributes
    ----------
    notes
        What was decided when it was opened, a sentence each: prefixes that were stripped, a container that
        was preferred to another, what was passed over.
    layout
        ``torch``, ``keras``, ``onnx`` or ``numpy``: whose conventions the tensors follow.
    """

    notes: tuple[str, ...]
    layout: Layout

    def __init__(
        self, entries: Mapping[str, Entry], *, layout: Layout, notes: Sequence[str] = (), origin: str = ""
    ):
        _check_names(entries, origin)
        self._entries = dict(entries)
        self._origin = origin or "the checkpoint"
        self.layout = layout
        self.notes = tuple(notes)

    def names(self) -> tuple[str, ...]:
        """All names, in the order in which they are stored."""
        return tuple(self._entries)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, without reading it."""
        return self._entry(name).shape

    def dtype(self, name: str) -> torch.dtype:
        """Type of a tensor's elements, without reading it."""
        return self._entry(name).dtype

    def read(self, name: str) -> Tensor:
        """A tensor in memory of its own. Raises ``SourceError`` if the file changed or ended meanwhile."""
        return self._entry(name).read()

    def not_finite(self, name: str) -> bool:
        """Whether a tensor, which is read for this, holds an infinity or a not-a-number."""
        dtype = self._entry(name).dtype
        if not (dtype.is_floating_point or dtype.is_complex):
            return False
        return any(_is_not_finite(part) for part in self.read(name).reshape(-1).split(_CHUNK))

    def entries(self) -> dict[str, Entry]:
        """Every name with what is known of its tensor, for those who make a checkpoint of another one."""
        return dict(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __repr__(self) -> str:
        return f"Checkpoint({self._origin}, {len(self)} tensors, {self.layout})"

    def _entry(self, name: str) -> Entry:
        try:
            return self._entries[name]
        except KeyError:
            near = difflib.get_close_matches(name, list(self._entries)[:10_000], n=3)
            hint = f"near it: {', '.join(near)}" if near else f"it holds {', '.join(list(self)[:4])}, .."
            raise SourceError(f"{self._origin} holds no tensor {name!r}; {hint}") from None


def _is_not_finite(part: Tensor) -> bool:
    if part.dtype.is_floating_point and part.dtype.itemsize == 1:
        part = part.float()  # torch looks for infinities in none of the one-byte types
    elif part.dtype is torch.complex32:
        part = torch.view_as_real(part)
    return not bool(torch.isfinite(part).all())


def _check_names(entries: Mapping[str, Entry], origin: str) -> None:
    if len(entries) > MAX_TENSORS:
        raise SourceError(f"{origin} holds {len(entries):,} tensors; at most {MAX_TENSORS:,} are read")
    long = next((name for name in entries if len(name) > MAX_NAME), None)
    if long is not None:
        raise SourceError(
            f"{origin} holds a tensor whose name has {len(long):,} characters, {long[:40]!r}..; "
            f"at most {MAX_NAME:,} are read"
        )
    garbled = next((name for name in entries if not name.isascii() and _is_garbled(name)), None)
    if garbled is not None:
        raise SourceError(f"{origin} holds a tensor whose name is no valid text: {garbled[:80]!r}")


def _is_garbled(name: str) -> bool:
    """Whether a name has halves of characters, which cannot be printed or written."""
    return any("\ud800" <= character <= "\udfff" for character in name)
