"""Reading ahead: what comes next is made in a thread while what came before is used."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")
_JOIN = 10.0  # seconds that an interrupted caller waits for the item that is being made


class _Ahead(threading.Thread, Generic[Item]):
    """Makes items into a bounded queue until it is told to stop; an error is the last item."""

    def __init__(self, items: Iterable[Item], depth: int):
        super().__init__(name="regraft-ahead", daemon=True)
        self._source = items
        self._waiting: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(depth)
        self._told = threading.Event()

    def run(self) -> None:
        """Make items; the last entry is an error or a pair of None."""
        ended: BaseException | None = StopIteration()
        try:
            for item in self._source:
                if not self._offer(item, None):
                    return
        except BaseException as error:  # noqa: BLE001 - it is raised again where the items are used
            ended = error
        finally:
            close = getattr(self._source, "close", None)
            if close is not None and self._told.is_set():
                close()
        self._offer(None, ended)

    def _offer(self, item: Item | None, ended: BaseException | None) -> bool:
        while not self._told.is_set():
            try:
                self._waiting.put((item, ended), timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def take(self) -> tuple[Item | None, BaseException | None]:
        """The next item, or what ended them."""
        return self._waiting.get()

    def end(self) -> None:
        """Stop, wherever the thread is; waits until it has."""
        self._told.set()
        self.join(_JOIN)


def ahead(items: Iterable[Item], depth: int = 2) -> Iterator[Item]:
    """The items in their order, each made in a thread while those before it are used.

    At most ``depth`` items wait, so memory stays flat. An error in the making is raised here, after the items
    before it. A caller that stops early, or is interrupted, ends the thread.

    Example::

        for batch in ahead(inputs.batch(pieces) for pieces in batches):
            run(batch)
    """
    worker = _Ahead(items, depth)
    worker.start()
    try:
        while True:
            item, ended = worker.take()
            if isinstance(ended, StopIteration):
                return
            if ended is not None:
                raise ended
            yield item  # type: ignore[misc]
    finally:
        worker.end()
