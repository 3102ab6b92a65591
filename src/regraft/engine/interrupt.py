"""Ctrl-C that leaves a run which can go on."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from regraft.core.console import say


class Interrupt:
    """Set once Ctrl-C was pressed; whoever works in steps asks ``wanted`` after each."""

    def __init__(self) -> None:
        self.wanted = False


@contextmanager
def graceful_interrupt() -> Iterator[Interrupt]:
    """Inside the block, the first Ctrl-C asks to stop after the present step and the second stops at once.

    Does nothing outside the main thread, where Python delivers no signals.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return

    def on_signal(number: int, frame: FrameType | None) -> None:
        if interrupt.wanted:
            raise KeyboardInterrupt
        interrupt.wanted = True
        say("Stopping after this step with a checkpoint; press Ctrl-C again to stop at once.")

    before = signal.signal(signal.SIGINT, on_signal)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)
