"""The runs that are compared: finished, different, each with a name of its own."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regraft.core.errors import BundleError, UsageError
from regraft.core.hashing import hash_json
from regraft.evidence.kept_values import KeptValues, read_values
from regraft.report._folder import RunFolder, read_folder
from regraft.report._words import is_number

FEWEST = 2


@dataclass(frozen=True)
class ComparedRun:
    """A finished run under a short name.

    ``values`` are by output what the deciding metric says of each test example, as far as the run kept it.
    """

    name: str
    folder: RunFolder
    values: Mapping[str, KeptValues]

    @property
    def test_part(self) -> str:
        """A hash of the contents of the test part, in their order; that of all data where none were kept.

        A run that says nothing of its data shares them with no other.
        """
        tested = (self.folder.target.get("splits") or {}).get("test")
        return hash_json(tested) if tested else self.data or f"{self.name}, unknown"

    @property
    def data(self) -> str:
        """The fingerprint of the data: contents, labels and parts."""
        hashes = self.folder.run.get("hashes") or {}
        return str(self.folder.target.get("fingerprint") or hashes.get("data") or "")

    @property
    def outputs(self) -> dict[str, dict[str, Any]]:
        """By name the figures of each output."""
        found = self.folder.metrics.get("outputs") or {}
        return {str(name): output for name, output in found.items() if isinstance(output, dict)}

    @property
    def labels(self) -> int | None:
        """How many labelled examples it trained and validated on."""
        parts = self.folder.target.get("parts") or {}
        known = [parts[name] for name in ("train", "validation") if is_number(parts.get(name))]
        return int(sum(known)) if known else None

    @property
    def model_bytes(self) -> int | None:
        """The size of its weights on disk."""
        path = self.folder.path / "model.safetensors"
        return path.stat().st_size if path.is_file() else None


def open_runs(folders: Sequence[str | Path]) -> tuple[ComparedRun, ...]:
    """Read the folders.

    Raises
    ------
    UsageError
        For fewer than two, and for one that is named twice.
    BundleError
        For a folder that holds no run or one that is not finished.
    """
    paths = [Path(folder) for folder in folders]
    _check(paths)
    found = [read_folder(path) for path in paths]
    for folder in found:
        _check_done(folder)
    return tuple(
        ComparedRun(name, folder, read_values(folder.path))
        for name, folder in zip(names_of(paths), found, strict=True)
    )


def _check(paths: Sequence[Path]) -> None:
    if len(paths) < FEWEST:
        raise UsageError("to compare runs name two or more of their folders: regraft report runs/a runs/b")
    seen: dict[Path, Path] = {}
    for path in paths:
        place = path.resolve()
        if place in seen:
            also = f", also as {seen[place]}" if path != seen[place] else ""
            raise UsageError(f"{path} is named twice{also}; compare different runs")
        seen[place] = path


def _check_done(folder: RunFolder) -> None:
    status = folder.run.get("status") or "unfinished"
    if status != "done" or not folder.metrics:
        raise BundleError(
            f"{folder.path} is {status if status != 'done' else 'without final figures'} and cannot be "
            f"compared yet. Finish it: regraft resume {shlex.quote(str(folder.path))}"
        )


def names_of(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths by which they can be told apart."""
    whole = [path.resolve().parts for path in paths]
    depths = [1] * len(whole)
    while True:
        names = ["/".join(parts[-depth:]) for parts, depth in zip(whole, depths, strict=True)]
        again = [names.count(name) > 1 for name in names]
        if not any(again):
            return names
        depths = [depth + more for depth, more in zip(depths, again, strict=True)]
