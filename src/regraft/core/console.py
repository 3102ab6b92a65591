"""Talking to a person: sentences and progress on standard error, nothing on standard output.

On a terminal progress is a bar; elsewhere (a file, CI) it is a plain line every few seconds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")
_PLAIN_INTERVAL = 5.0  # seconds between plain progress lines


@dataclass
class _Settings:
    quiet: bool = False
    depth: int = 0  # pieces of work that are shown now; those inside another one are not
    said: set[str] | None = None  # sentences that are not said again; None where every one is
    heard: list[str] | None = None  # where lines go instead; None where they are printed


_settings = _Settings()


def set_quiet(quiet: bool) -> None:
    """Switch sentences and progress off or on, for the whole process."""
    _settings.quiet = quiet


def say(sentence: str) -> None:
    """Print one sentence on standard error, unless quiet, or said before within :func:`said_once`."""
    if _settings.said is not None:
        if sentence in _settings.said:
            return
        _settings.said.add(sentence)
    _print(sentence)


def _print(line: str) -> None:
    if _settings.quiet:
        return
    if _settings.heard is not None:
        _settings.heard.append(line)
        return
    print(line, file=sys.stderr, flush=True)


@contextmanager
def said_once() -> Iterator[None]:
    """Within the block, a sentence that was said there is not said again; others are, if only by a figure.

    For work that does the same thing many times over. Progress is shown as ever.
    """
    before = _settings.said
    _settings.said = set() if before is None else before
    try:
        yield
    finally:
        _settings.said = before


@contextmanager
def hushed() -> Iterator[None]:
    """Within the block nothing is said and no progress is shown: for trials that somebody else sums up."""
    before = _settings.quiet
    _settings.quiet = True
    try:
        yield
    finally:
        _settings.quiet = before


@contextmanager
def overheard() -> Iterator[list[str]]:
    """Within the block sentences are collected instead of printed, and no progress is shown: for a process
    that works for another one, which says them in its place.
    """
    before = _settings.heard
    _settings.heard = []
    try:
        yield _settings.heard
    finally:
        _settings.heard = before


def duration(seconds: float) -> str:
    """Seconds as a person says them: ``0.4 s``, ``12 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


Advance = Callable[..., None]


@contextmanager
def progress(label: str, total: int, *, unit: str = "examples") -> Iterator[Advance]:
    """Show how far a piece of work is and how long it will still take.

    Yields ``advance(count=1, note="")``. Nothing is shown for work that ends within two seconds off a
    terminal, nor for work that is a part of other work with progress of its own.
    """
    if _settings.quiet or _settings.depth or _settings.heard is not None or total <= 0:
        yield lambda count=1, note="": None
        return
    _settings.depth += 1
    try:
        yield from _bar(label, total, unit) if sys.stderr.isatty() else _lines(label, total, unit)
    finally:
        _settings.depth -= 1


def _rate(rate: float, unit: str = "") -> str:
    return f"{rate:.0f}{unit}/s" if rate >= 1 else ""


def _bar(label: str, total: int, unit: str) -> Iterator[Advance]:
    from rich import progress as rich_progress
    from rich.console import Console

    columns = (
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TextColumn("{task.fields[rate]} {task.fields[note]}"),
        rich_progress.TimeRemainingColumn(),
    )
    start = time.monotonic()
    done = 0
    with rich_progress.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total, rate="", note="")

        def advance(count: int = 1, note: str = "") -> None:
            nonlocal done
            done += count
            rate = done / max(time.monotonic() - start, 1e-9)
            bar.update(task, advance=count, rate=_rate(rate, f" {unit}"), note=note)

        yield advance
    elapsed = time.monotonic() - start
    _print(f"{label}: {done} {unit} in {duration(elapsed)}")


def _lines(label: str, total: int, unit: str) -> Iterator[Advance]:
    start = last = time.monotonic()
    done = 0
    shown = False

    def advance(count: int = 1, note: str = "") -> None:
        nonlocal done, last, shown
        done += count
        now = time.monotonic()
        if now - last < _PLAIN_INTERVAL or done >= total:
            return
        last, shown = now, True
        left = (now - start) / done * (total - done) if done else 0.0
        rate = done / (now - start)
        extra = f", {note}" if note else ""
        pace = f", {_rate(rate)}" if rate >= 1 else ""
        _print(f"{label}: {done}/{total} {unit}{pace}, {duration(left)} left{extra}")

    yield advance
    elapsed = time.monotonic() - start
    if shown or elapsed > 2:
        _print(f"{label}: {done} {unit} in {duration(elapsed)}")


def track(items: Iterable[Item], label: str, total: int, *, unit: str = "examples") -> Iterator[Item]:
    """Iterate over ``items`` with progress."""
    with progress(label, total, unit=unit) as advance:
        for item in items:
            yield item
            advance()
