"""A batch that is read only if a block asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from torch import Tensor

from regraft.core.inputs import Batch


class LazyBatch(Mapping[str, Tensor]):
    """A batch that is read only if a block asks for it: behind a cut most networks never do."""

    def __init__(self, read: Callable[[], Batch]):
        self._read = read
        self._batch: Batch | None = None

    def _whole(self) -> Batch:
        if self._batch is None:
            self._batch = self._read()
        return self._batch

    def __getitem__(self, name: str) -> Tensor:
        return self._whole()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._whole())

    def __len__(self) -> int:
        return len(self._whole())
