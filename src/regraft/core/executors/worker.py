"""What runs in a worker: an item, its errors made to travel, its sentences collected."""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

from regraft.core.console import overheard
from regraft.core.errors import RegraftError
from regraft.core.executors.executor import Outcome, Work

_WATCHED = 1.0  # seconds between two looks whether the process that this one works for is still there
_kept: dict[str, Any] = {}  # what all items share, by its key: the last one only


def carry(key: str, work: Work, item: Any, *handed: Any) -> Outcome[Any]:
    """The outcome of an item; what all items share is ``handed`` over the first time."""
    if handed:
        _kept.clear()
        _kept[key] = handed[0]
    return attempt(work, lambda: _kept[key], item)


def keep(key: str, get: Callable[[], Any], begin: Callable[[], object]) -> Any:
    """What all items share, fetched once by each worker, which then also begins."""
    if key not in _kept:
        begin()
        value = get()
        _kept.clear()
        _kept[key] = value
    return _kept[key]


def attempt(work: Work, shared: Callable[[], Any], item: Any) -> Outcome[Any]:
    """What comes of an item; what it says is collected, and an error is brought into a form that travels.

    ``shared`` gives what all items share, and may fail as the work may.
    """
    done = [0]

    def tick(count: int) -> None:
        done[0] += count

    with overheard() as said:
        try:
            value, failed = work(shared(), item, tick), None
        except Exception as error:  # noqa: BLE001 - raised again where the value is asked for
            value, failed = None, _portable(error)
    return Outcome(value, failed, tuple(said), done[0])


def _portable(error: Exception) -> Exception:
    """An error that can be made again in another process, with where it was raised as a note.

    Those of other packages may have constructors that nobody can call again: the nearest ancestor that Python
    itself has stands for them.
    """
    own = isinstance(error, RegraftError) or type(error).__module__ == "builtins"
    found = error if own else _builtin(error)(f"{type(error).__name__}: {error}")
    found.add_note("In the worker:\n" + "".join(traceback.format_exception(error)))
    return found


def _builtin(error: Exception) -> type[Exception]:
    kinds = (kind for kind in type(error).__mro__ if kind.__module__ == "builtins")
    return next((kind for kind in kinds if issubclass(kind, Exception)), RuntimeError)


def begin_process(parent: int, begin: Callable[[], object]) -> None:
    """Prepare a process of this machine: it leaves interruptions to its parent, and ends when that ends."""
    from joblib.externals.loky import process_executor

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    # It would end a worker whose memory grows by 300 MB, which any network does.
    process_executor._USE_PSUTIL = False
    begin()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_WATCHED)
    os._exit(1)
