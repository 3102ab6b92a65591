"""``bundle:DIR``: a finished run is a source again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regraft.core.errors import BundleError
from regraft.core.files import read_json
from regraft.core.preprocessing import preprocessing_from_json
from regraft.core.task_spec import TaskSpec
from regraft.sources.checkpoint import describe
from regraft.sources.source import BuilderSpec, NativeHead, Source

if TYPE_CHECKING:
    from torch import nn

MODEL, TENSORS = "model.json", "model.safetensors"


def find(rest: str, *, builder: str | Callable[[], nn.Module] | None = None) -> Source:
    """The model of the run in this folder; ``builder`` for a network of the user's own."""
    folder = Path(rest).expanduser()
    model = _read(folder)
    try:
        spec = BuilderSpec.from_json(model["builder"])
        tasks = [TaskSpec.from_json(task) for task in model["tasks"]]
        preprocessing = preprocessing_from_json(model["preprocessing"], _files(folder))
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{folder / MODEL} is damaged: {error}") from error
    return Source(
        name=f"bundle:{rest}",
        builder=spec,
        weights=describe([folder / TENSORS], _licence(folder)),
        preprocessing=preprocessing,
        heads=tuple(_head(task) for task in tasks if task.name not in model.get("heads", {})),
        cite=_said(folder, "cite"),
        handed=builder,
    )


def _read(folder: Path) -> dict[str, Any]:
    missing = [name for name in (MODEL, TENSORS) if not (folder / name).is_file()]
    if missing:
        found = "there is no such folder" if not folder.is_dir() else f"it has no {' and no '.join(missing)}"
        raise BundleError(f"{folder} is not a finished run: {found}")
    try:
        model = read_json(folder / MODEL)
    except ValueError as error:
        raise BundleError(f"{folder / MODEL} is damaged: {error}") from error
    if not isinstance(model, dict):
        raise BundleError(f"{folder / MODEL} is damaged: it holds no object")
    return model


def _files(folder: Path) -> dict[str, bytes]:
    tokenizer = folder / "tokenizer" / "tokenizer.json"
    return {"tokenizer.json": tokenizer.read_bytes()} if tokenizer.is_file() else {}


def _head(task: TaskSpec) -> NativeHead:
    stem = f"heads.output_{task.name.replace('.', '_')}"
    return NativeHead(f"{stem}.weight", f"{stem}.bias", task.classes, task.name, task.kind)


def _licence(folder: Path) -> str:
    return _said(folder, "licence") or "as its source"


def _said(folder: Path, field: str) -> str:
    """What ``run.json`` says of the source that the run grew on."""
    path = folder / "run.json"
    try:
        source = read_json(path).get("source", {}) if path.is_file() else {}
    except (ValueError, AttributeError) as error:
        raise BundleError(f"{path} is damaged: {error}") from error
    return str(source.get(field) or "")
