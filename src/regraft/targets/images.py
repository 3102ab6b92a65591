"""Targets from folders of images."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regraft.core.errors import DataError
from regraft.targets.assemble import Found, assemble
from regraft.targets.digests import Digests
from regraft.targets.examples import ImageFiles
from regraft.targets.files import IMAGE_SUFFIXES, hash_files, is_litter
from regraft.targets.labels import tasks_json
from regraft.targets.parts import part_of
from regraft.targets.target import Target, Tasks, Unreadable

_LAYOUTS = "Either one folder for each class, or train/ val/ test/ with class folders in each."


@dataclass(frozen=True)
class _File:
    path: str
    name: str
    label: str
    split: str | None


def from_images(folder: str | Path, *, tasks: Tasks, drop_rare: bool) -> Target:
    """Class folders of images; or ``train/ val/ test/`` with class folders."""
    root = existing_folder(Path(folder).expanduser())
    files, sentences = _list_files(root)
    wrong = {index: reason for index, file in enumerate(files) if (reason := _wrong_type(file.path))}
    digests, reasons = hash_files([file.path for file in files], [file.name for file in files])
    reasons.update(wrong)
    good = [index for index in range(len(files)) if index not in reasons]
    origin = {
        "kind": "images",
        "path": str(root.resolve()),
        "options": {"tasks": tasks_json(tasks), "drop_rare": drop_rare},
    }
    found = Found(
        examples=ImageFiles(
            [files[index].path for index in good],
            [files[index].name for index in good],
            Digests.from_bytes(digests[index] or b"" for index in good),
        ),
        labels={"label": _class_column([files[index].label for index in good])},
        splits=[files[index].split for index in good] if any(file.split for file in files) else None,
        unreadable=tuple(Unreadable(files[index].name, reasons[index]) for index in sorted(reasons)),
        sentences=sentences,
        origin=origin,
    )
    return assemble(found, tasks=tasks, drop_rare=drop_rare)


def _class_column(words: list[str]) -> Any:
    """Folder names are classes, also where they look like numbers: a dictionary column says so."""
    import pyarrow as pa

    return pa.array(words, pa.string()).dictionary_encode()


def existing_folder(root: Path) -> Path:
    """The folder, or an error that says what stands there instead and what has a similar name."""
    if root.is_dir():
        return root
    if root.exists():
        raise DataError(
            f"{root} is a file, not a folder of images; for a table use Target.from_table({str(root)!r})"
        )
    parent = root.parent if root.parent.is_dir() else Path()
    near = difflib.get_close_matches(root.name, sorted(os.listdir(parent)), n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(str(parent / name) for name in near)}?" if near else ""
    raise DataError(f"there is no folder {root}{hint}")


def _list_files(root: Path) -> tuple[list[_File], list[str]]:
    folders = _subfolders(root)
    if not folders:
        raise DataError(_no_class_folders(root))
    if _is_split_layout(root, folders):
        files = [file for split in folders for file in _class_files(root, root / split, split)]
        loose: list[str] = []
        sentences = [f"The folders {', '.join(folders)} are taken for given splits."]
    else:
        files = list(_class_files(root, root, None))
        loose, sentences = _loose_images(root), []
    if not any(_wrong_type(file.path) is None for file in files):
        raise DataError(
            f"no image in the {len(folders)} folders of {root}: {', '.join(folders[:6])}. {_LAYOUTS}"
        )
    if loose:
        sentences.append(f"{len(loose)} images beside the class folders are not used ({loose[0]}, ..).")
    return files, sentences


def _subfolders(folder: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not is_litter(entry.name))


def _loose_images(folder: Path) -> list[str]:
    names = (entry.name for entry in os.scandir(folder) if not entry.is_dir() and not is_litter(entry.name))
    return sorted(name for name in names if Path(name).suffix.lower() in IMAGE_SUFFIXES)


def _no_class_folders(root: Path) -> str:
    images = _loose_images(root)
    if images:
        return (
            f"{root} holds {len(images)} images but no class folders, so there are no labels. {_LAYOUTS} "
            "Where labels are in a table, use Target.from_table(TABLE, image=COLUMN, label=COLUMN)"
        )
    inside = sorted(name for name in os.listdir(root) if not is_litter(name))
    found = f"only {', '.join(inside[:6])}" if inside else "nothing"
    return f"{root} holds no class folders ({found} in it). {_LAYOUTS}"


def _is_split_layout(root: Path, folders: list[str]) -> bool:
    """A class may be called train, too: then images, not folders, stand in it."""
    return all(part_of(name) is not None and _subfolders(root / name) for name in folders)


def _class_files(root: Path, folder: Path, split: str | None) -> Iterator[_File]:
    for label in _subfolders(folder):
        for path in _walk(folder / label):
            yield _File(path, os.path.relpath(path, root).replace(os.sep, "/"), label, split)


def _walk(folder: Path) -> Iterator[str]:
    """Files below a folder in a fixed order; links are followed, each folder once."""
    seen: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not is_litter(name))
        yield from (os.path.join(place, name) for name in sorted(names) if not is_litter(name))


def _wrong_type(path: str) -> str | None:
    suffix = Path(path).suffix.lower()
    if suffix and suffix not in IMAGE_SUFFIXES:
        return f"a {suffix} file, not an image"
    return None
