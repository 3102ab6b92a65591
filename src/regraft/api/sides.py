"""The two sides of a link, from what a person names: where weights come from, and the model they go to."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from regraft.core.errors import SourceError, UsageError
from regraft.core.preprocessing import Preprocessing
from regraft.linking import Blueprint
from regraft.linking.network import Given
from regraft.linking.origin import Origin
from regraft.linking.whole import WholeBlueprint
from regraft.sources import Source, example_batch, find, is_source_name
from regraft.sources.module import import_builder
from regraft.sources.registry import ADAPTERS, unknown
from regraft.sources.whole import find_whole, is_transformers_folder
from regraft.targets import Target, load_target
from regraft.tasks import make_task

Side = Blueprint | WholeBlueprint


def open_origin(
    source: Any, given: Given | None, options: Mapping[str, Any], *, whole: bool = False
) -> Origin:
    """Where weights come from.

    ``source`` is an Origin, a Source, a module, or a text: a source's name, the path of a checkpoint (with
    ``builder`` in the options its network is known too), the folder of a run or of transformers' files, or
    ``module:function`` that gives a module with its weights. ``whole`` says that the target is a module: then
    the network of a checkpoint is run as it is, and need not be a trunk with preprocessing.
    """
    if isinstance(source, Origin | Source | nn.Module):
        if options:
            raise UsageError(f"{', '.join(options)} cannot be given for a source that is open already")
        return _opened(source, given)
    name = str(source)
    path = Path(name.removeprefix("file:")).expanduser()
    if name.startswith("file:") or (path.is_file() and not _prefixed(name)):
        return _of_file(path, given, options, whole)
    if path.is_dir() and not _prefixed(name):
        if is_transformers_folder(path):
            name = f"hf:{path}"
        elif not (path / "run.json").is_file():
            raise SourceError(
                f"{name} is a folder that holds neither a run nor a transformers model; the source comes "
                "first: regraft link SOURCE TARGET"
            )
    if is_source_name(name):
        return _opened(find(name, **options), given)
    return Origin(name, module=_built(name), given=given)


def _opened(source: Origin | Source | nn.Module, given: Given | None) -> Origin:
    if isinstance(source, Origin):
        return source
    if isinstance(source, Source):
        return Origin(source.name, source, given=given)
    return Origin(type(source).__name__, module=source, given=given)


def _of_file(path: Path, given: Given | None, options: Mapping[str, Any], whole: bool) -> Origin:
    if not path.is_file():
        raise SourceError(f"there is no checkpoint {path}{_near(path)}")
    builder = options.get("builder")
    if builder is not None and whole and set(options) == {"builder"}:
        function = import_builder(builder) if isinstance(builder, str) else builder
        return Origin(str(path), file=path, builder=function, given=given)
    if builder is not None:
        return _opened(find(f"file:{path}", **options), None)
    if options:
        raise UsageError(
            f"{', '.join(options)} is for the network of {path}, which holds tensors alone: say what builds "
            "that network with builder='module:function' (--builder module:function)"
        )
    return Origin(str(path), file=path)


def _built(name: str) -> nn.Module:
    try:
        function = import_builder(name)
    except UsageError as error:
        raise SourceError(f"{unknown(name)} As MODULE:FUNCTION: {error}") from error
    module = function() if callable(function) else function
    if not isinstance(module, nn.Module):
        raise UsageError(f"{name} gave a {type(module).__name__}, not an nn.Module")
    return module


def open_blueprint(
    target: Any, origin: Origin, given: Given | None, *, classes: Sequence[str] = (), size: int | None = None
) -> tuple[Side, Preprocessing | None]:
    """The model that weights go to, and what it reads where that is known.

    ``target`` is a Target, a Blueprint, a module, a function that builds one, or a text: a source's name (its
    network, without weights), ``module:function``, or the path of data (the source's network with heads).
    """
    if isinstance(target, Blueprint):
        return target, target.source.preprocessing
    if isinstance(target, WholeBlueprint):
        return target, None
    if isinstance(target, Target):
        return _for_data(target, origin)
    if isinstance(target, nn.Module):
        return WholeBlueprint(type(target).__name__, target, given, tuple(classes)), None
    if isinstance(target, str | Path):
        return _named(str(target), origin, given, tuple(classes), size)
    if callable(target):
        name = getattr(target, "__name__", type(target).__name__)
        return WholeBlueprint(name, target, given, tuple(classes)), None
    return _for_data(load_target(target), origin)


def _named(
    name: str, origin: Origin, given: Given | None, classes: tuple[str, ...], size: int | None
) -> tuple[Side, Preprocessing | None]:
    path = Path(name).expanduser()
    if _prefixed(name) or (path.is_dir() and is_transformers_folder(path)):
        return _library(name if _prefixed(name) else f"hf:{path}", given, classes, size)
    if path.exists():
        return _for_data(load_target(path), origin)
    if ":" not in name:
        raise UsageError(_no_target(name))
    try:
        import_builder(name)
    except UsageError as error:
        raise UsageError(f"{_no_target(name)} As MODULE:FUNCTION: {error}") from error
    return WholeBlueprint(name, name, given, classes), None


def is_data(name: str) -> bool:
    """Whether a target's name is the path of data, and no network's."""
    path = Path(name).expanduser()
    return path.exists() and not _prefixed(name) and not (path.is_dir() and is_transformers_folder(path))


def _library(
    name: str, given: Given | None, classes: tuple[str, ...], size: int | None
) -> tuple[Side, Preprocessing | None]:
    """A library's network, as whole as it comes: with its head, or the trunk alone."""
    whole = find_whole(name, size=size)
    if whole.build is None:
        return Blueprint(whole.source, ()), whole.preprocessing
    reads = given if given is not None else _example(whole.source)
    return WholeBlueprint(name, whole.build, reads, classes or whole.source.classes), whole.preprocessing


def _example(source: Source) -> Given:
    batch = example_batch(source)
    return batch["pixels"] if set(batch) == {"pixels"} else dict(batch)


def _for_data(data: Target, origin: Origin) -> tuple[Side, Preprocessing | None]:
    if origin.source is None:
        raise UsageError(
            f"a model for data is the source's network with new heads, and {origin.name} names no network "
            "that regraft knows. Name the network instead of the data (timm:NAME, MODULE:FUNCTION), or say "
            "what builds the checkpoint's with builder='module:function' (--builder module:function)"
        )
    blueprint = Blueprint(origin.source, tuple(make_task(spec) for spec in data.tasks))
    return blueprint, origin.source.preprocessing


def _prefixed(name: str) -> bool:
    prefix, colon, _ = name.partition(":")
    return bool(colon) and prefix in ADAPTERS


def _no_target(name: str) -> str:
    from regraft.sources.catalogue import names

    near = difflib.get_close_matches(name, names(), n=2, cutoff=0.6)
    hint = f" Did you mean {' or '.join(near)}?" if near else _near(Path(name))
    kinds = ", ".join(f"{prefix}:.." for prefix in ("timm", "torchvision", "hf", "packaged"))
    return (
        f"there is no target {name!r}.{hint} It may be a network by name ({kinds}), MODULE:FUNCTION that "
        "builds one, or the path of data, and there is no such file or folder."
    )


def _near(path: Path) -> str:
    """A hint at files beside a path that is not there."""
    folder = path.parent
    beside = [one.name for one in folder.iterdir()] if folder.is_dir() else []
    near = difflib.get_close_matches(path.name, beside, n=2, cutoff=0.6)
    return f" Did you mean {' or '.join(str(folder / name) for name in near)}?" if near else ""
