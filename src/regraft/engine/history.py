"""History: one line per logged step, in memory and, for a run with a folder, in ``history.jsonl``."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from regraft.core.console import say
from regraft.core.disk import full_disk_told
from regraft.core.files import write_text

MEASURED = ("seconds", "memory", "examples_per_second")
"""What a line says of the machine at that time: no function of seed and step."""


def bare(line: Mapping[str, Any]) -> dict[str, Any]:
    """A line without what was measured: what is left repeats to the bit."""
    return {key: value for key, value in line.items() if key not in MEASURED}


class Watcher(Protocol):
    """Something that is told of every line, such as a logger."""

    def begin(self, lines: list[dict[str, Any]]) -> None:
        """The history is these lines now; others may have been told before."""

    def log(self, line: dict[str, Any]) -> None:
        """One more line."""


class History:
    """Lines in the order in which they were logged; a ``watcher`` is told of what is added and taken back.

    Parameters
    ----------
    path
        Where they are appended; None keeps them in memory only.
    """

    def __init__(self, path: Path | None = None):
        self.path = path
        self.lines: list[dict[str, Any]] = []
        self.watcher: Watcher | None = None

    def add(self, line: dict[str, Any]) -> None:
        """Log one line."""
        self.lines.append(line)
        self._write(line)
        if self.watcher is not None:
            self.watcher.log(line)

    def _write(self, line: dict[str, Any]) -> None:
        if self.path is None:
            return
        advice = f"No line is lost; free some space, then: regraft resume {self.path.parent}"
        told = full_disk_told(f"a line could not be added to {self.path}", advice)
        with told, open(self.path, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")

    def rewind(self, count: int) -> None:
        """Forget all lines but the first ``count``: what came after the checkpoint comes again."""
        self._rewind(count)
        if self.watcher is not None:
            self.watcher.begin(self.lines)

    def _rewind(self, count: int) -> None:
        if self.path is None:
            self.lines = self.lines[:count]
            return
        written = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        if len(written) < count:
            say(
                f"{self.path} has lost lines: {count} were logged before the checkpoint, {len(written)} are "
                "there. The weights do not depend on them; the run goes on."
            )
        self.lines = [json.loads(line) for line in written[:count]]
        write_text(self.path, "".join(json.dumps(line) + "\n" for line in self.lines))

    def sync(self) -> None:
        """Make sure that what was logged is on disk: a checkpoint must not count a line that is lost."""
        if self.path is not None and self.path.exists():
            with open(self.path, "rb") as stream:
                os.fsync(stream.fileno())
