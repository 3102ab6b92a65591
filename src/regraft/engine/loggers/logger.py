"""Logger: one program that follows a run, and the figures that it is given."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

_FLAT = ("loss", "seconds", "examples_per_second", "memory", "skipped")
_NESTED = ("terms", "rates", "validation")


class Logger(Protocol):
    """Follows a run. Any method may raise; then the logger is left out from there on."""

    name: str

    def begin(self, lines: list[Mapping[str, Any]]) -> None:
        """The history is these lines, of this process or of one before it: none of them twice."""

    def log(self, line: Mapping[str, Any]) -> None:
        """One more line."""

    def close(self, *, finished: bool) -> None:
        """Nothing follows; ``finished`` where the run was not interrupted and did not fail."""


def figures(line: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Names and values of a line of a train stage, ``tune/validation/accuracy``; nothing of other lines."""
    if line.get("kind") != "train":
        return
    stage = line["stage"]
    for name in _FLAT:
        if name in line:
            yield f"{stage}/{name}", float(line[name])
    for group in _NESTED:
        for name, value in line.get(group, {}).items():
            if value is not None and math.isfinite(value):
                yield f"{stage}/{group}/{name}", float(value)


def sentences(line: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What a line tells in words: a name and the note."""
    if "note" in line:
        yield f"{line['stage']}/{line['kind']}", str(line["note"])
