"""Loading a target from whatever names it: a folder, a table, arrays, a data set; and loading it again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from regraft.core.errors import DataError, UsageError
from regraft.targets.arrow_files import TABLE_SUFFIXES
from regraft.targets.datasets import is_saved_dataset
from regraft.targets.images import existing_folder
from regraft.targets.target import Target

_FOLDER_OPTIONS = ("tasks", "drop_rare")


def load_target(data: Any, **options: Any) -> Target:
    """The target that ``data`` is or names: a Target, a folder of images, a table file, a saved data set, a
    data frame, a Dataset, or ``(X, y)``. Options are those of the loader that fits; None means not given.
    """
    options = {name: value for name, value in options.items() if value is not None}
    if isinstance(data, Target):
        _only(options, (), "a Target, which is loaded already")
        return data
    if isinstance(data, str | Path):
        return _load_path(Path(data).expanduser(), options)
    if isinstance(data, tuple) and len(data) == 2:
        _only(options, ("groups", *_FOLDER_OPTIONS), "arrays")
        return Target.from_arrays(data[0], data[1], **options)
    if type(data).__module__.split(".")[0] == "datasets":
        return Target.from_dataset(data, **options)
    return Target.from_table(data, **options)


def _load_path(path: Path, options: dict[str, Any]) -> Target:
    if path.is_file() and path.suffix.lower() in TABLE_SUFFIXES:
        return Target.from_table(path, **options)
    if path.is_file():
        raise DataError(
            f"{path} is neither a folder of images nor a table ({', '.join(TABLE_SUFFIXES)}); "
            "name the folder that holds the class folders, or the table"
        )
    if path.is_dir() and is_saved_dataset(path):
        return Target.from_dataset(path, **options)
    existing_folder(path)
    _only(options, _FOLDER_OPTIONS, f"a folder of images ({path}), whose labels are the names of its folders")
    return Target.from_images(path, **options)


def has_columns(data: str | Path) -> bool:
    """Whether data at a path have columns to be named: tables and saved data sets, not folders of images."""
    path = Path(data).expanduser()
    return not path.is_dir() or is_saved_dataset(path)


def _only(options: Mapping[str, Any], allowed: tuple[str, ...], what: str) -> None:
    extra = sorted(set(options) - set(allowed))
    if extra:
        possible = f"; possible are {', '.join(allowed)}" if allowed else ""
        raise UsageError(f"{', '.join(extra)} cannot be given for {what}{possible}")


def reload(origin: Mapping[str, Any]) -> Target:
    """The target that a run was made with, from the origin in its ``target.json``."""
    kind, path = origin.get("kind"), origin.get("path")
    if kind == "together":
        return _tested(Target.together({n: reload(one) for n, one in origin["members"].items()}), origin)
    if path is None:
        raise DataError("these data lived in memory only and were not saved; hand them over again")
    if not Path(path).exists():
        raise DataError(f"the data are no longer at {path}; put them back, or hand them over again")
    return _tested(_reload(str(kind), Path(path), dict(origin.get("options", {}))), origin)


def _tested(target: Target, origin: Mapping[str, Any]) -> Target:
    """The target with the test part that was asked for, where one was."""
    test = origin.get("test")
    return target if test is None else target.with_test(test["size"], test["salt"])


def _reload(kind: str, path: Path, options: dict[str, Any]) -> Target:
    if kind == "arrays":
        from regraft.targets.arrays import reload_arrays

        return reload_arrays(path, options)
    loaders: dict[str, Callable[..., Target]] = {
        "images": Target.from_images,
        "table": Target.from_table,
        "dataset": Target.from_dataset,
    }
    if kind not in loaders:
        raise DataError(f"unknown kind of data {kind!r}; this run was made by another version of regraft")
    return loaders[kind](path, **options)
