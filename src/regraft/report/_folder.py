"""What a run left in its folder, read without asking any other room."""

from __future__ import annotations

import csv
import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regraft.core.errors import BundleError
from regraft.core.files import read_json

Json = dict[str, Any]


@dataclass(frozen=True)
class RunFolder:
    """The files of a run as plain values; what is not there (yet) is empty.

    ``history`` has one entry per line of ``history.jsonl``, ``unreadable`` pairs of item and reason,
    ``near_duplicates`` the rows of its table.
    """

    path: Path
    run: Json
    target: Json
    link: Json
    metrics: Json
    evidence: Json
    ranking: Json
    history: tuple[Json, ...]
    plan: str
    unreadable: tuple[tuple[str, str], ...]
    near_duplicates: tuple[dict[str, str], ...] = ()

    def command(self, verb: str, *more: str) -> str:
        """The line to type about this run, as in ``regraft prove runs/leaves``."""
        return " ".join(["regraft", verb, shlex.quote(str(self.path)), *more])


def read_folder(path: str | Path) -> RunFolder:
    """Read a run's folder, finished or not.

    Raises :class:`BundleError` where the folder holds no run, or one of its files is damaged.
    """
    path = Path(path)
    if not (path / "run.json").is_file() and not (path / "target.json").is_file():
        raise BundleError(
            f"{path} holds no run: neither run.json nor target.json is there. "
            f"Make one with: regraft fit DATA --out {shlex.quote(str(path))}"
        )
    return RunFolder(
        path=path,
        run=_object(path / "run.json"),
        target=_object(path / "target.json"),
        link=_object(path / "link.json"),
        metrics=_object(path / "metrics.json"),
        evidence=_object(path / "evidence.json"),
        ranking=_object(path / "ranking.json"),
        history=_lines(path / "history.jsonl"),
        plan=_text(path / "plan.yaml"),
        unreadable=_unreadable(path / "unreadable.csv"),
        near_duplicates=_rows(path / "near_duplicates.csv"),
    )


def _object(path: Path) -> Json:
    if not path.is_file():
        return {}
    try:
        value = read_json(path)
    except ValueError as error:
        raise BundleError(
            f"{path} is damaged: {error}. Move it away and write the report without it: "
            f"regraft report {shlex.quote(str(path.parent))}"
        ) from error
    if not isinstance(value, dict):
        raise BundleError(f"{path} holds a {type(value).__name__} where a JSON object is expected")
    return value


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _lines(path: Path) -> tuple[Json, ...]:
    """The entries of a JSON-lines file; a line that a crash cut short is left out."""
    entries = []
    for line in _text(path).splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            entries.append(entry)
    return tuple(entries)


def _unreadable(path: Path) -> tuple[tuple[str, str], ...]:
    return tuple((row.get("item") or "", row.get("reason") or "") for row in _rows(path))


def _rows(path: Path) -> tuple[dict[str, str], ...]:
    """The lines of a table; none where it is not there."""
    try:
        return tuple(csv.DictReader(_text(path).splitlines()))
    except csv.Error as error:
        raise BundleError(f"{path} is damaged: {error}") from error
