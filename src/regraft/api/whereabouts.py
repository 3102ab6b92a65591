"""Where the data of a run lie: found again for whoever goes on with it, proves or exports it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regraft.core.errors import DataError
from regraft.engine import Run
from regraft.targets import Target, reload

_PATTERN = set("*?[")


def moved_from(run: Run) -> Path | None:
    """The folder that the run was begun in, where it is no longer the one that it is in."""
    before = run.facts.get("folder")
    return None if before is None or Path(before) == run.folder.resolve() else Path(before)


def find_data(run: Run, again: str) -> Target:
    """The run's target, loaded from where its data lie.

    Data inside the run's folder are looked for where that folder is now. ``again`` is the line that does the
    same once more. Raises :class:`DataError`, saying what was looked for and where.
    """
    return _load(run, run.facts["origin"], f"the data of {run.folder}", again)


def find_stream_data(run: Run, name: str, origin: Mapping[str, Any], again: str) -> Target | str:
    """The data of one of the run's streams, found as :func:`find_data` finds the target's."""
    what = f"the data of the stream {name!r} of {run.folder}"
    if "target" in origin:
        return _load(run, origin["target"], what, again)
    path = _here(run, origin["items"])
    if not _PATTERN & set(path):
        _check(path, what, again)
    return path


def _load(run: Run, origin: Mapping[str, Any], what: str, again: str) -> Target:
    return reload(_found(run, origin, what, again))


def _found(run: Run, origin: Mapping[str, Any], what: str, again: str) -> dict[str, Any]:
    """An origin whose paths are those of today, each of them there."""
    if "members" in origin:
        members = origin["members"].items()
        found = {name: _found(run, one, f"{name} of {what}", again) for name, one in members}
        return {**origin, "members": found}
    if not origin.get("path"):
        return dict(origin)
    path, kind = _here(run, origin["path"]), str(origin.get("kind"))
    _check(path, f"{what} ({_KINDS.get(kind, kind)})", again)
    return {**origin, "path": path}


_KINDS = {
    "images": "a folder of images",
    "table": "a table",
    "dataset": "a saved data set",
    "arrays": "saved arrays",
}


def _here(run: Run, path: str) -> str:
    """A path as it is now that the run's folder may have been moved or copied."""
    before = moved_from(run)
    if before is None or not Path(path).is_relative_to(before):
        return path
    return str(run.folder.resolve() / Path(path).relative_to(before))


def _check(path: str, what: str, again: str) -> None:
    if not Path(path).exists():
        raise DataError(
            f"{what} are looked for at {path} and are no longer there. Put them back: "
            f"mv WHERE-THEY-ARE {path}; then: {again}"
        )
