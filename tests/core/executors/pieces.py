"""Pieces of work for executors: in a file of their own, because workers import them."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np

from regraft.core.console import say
from regraft.core.errors import MissingPackageError
from regraft.core.executors import Tick


class Strange(RuntimeError):
    """An error of another package, whose constructor nobody can call again."""

    def __init__(self, one: int, two: int):
        super().__init__(f"{one} and {two}")


def squared(shared: np.ndarray, item: int, tick: Tick) -> tuple[int, int]:
    """What is shared at a place, squared, and the process."""
    tick(item)
    say(f"squared {item}")
    return int(shared[item] ** 2), os.getpid()


def failing(shared: None, item: str, tick: Tick) -> str:
    if item == "ours":
        raise MissingPackageError("graft", "Grafting", "regraft[graft]")
    if item == "strange":
        raise Strange(1, 2)
    return item


def killed(shared: Path, item: int, tick: Tick) -> int:
    """Item 1 kills its worker the first time, item 2 always."""
    mark = shared / f"{item}-{len(list(shared.iterdir()))}"
    if item == 2 or (item == 1 and not list(shared.glob("1-*"))):
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def slow(shared: None, item: float, tick: Tick) -> int:
    time.sleep(item)
    return os.getpid()


def threads(shared: None, item: int, tick: Tick) -> str | None:
    return os.environ.get("OMP_NUM_THREADS")


def nothing() -> None:
    """What a worker begins with."""
