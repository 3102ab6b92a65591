"""A library's own network with its head and without weights: what a checkpoint may be linked to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regraft.core.preprocessing import Preprocessing
from regraft.sources.registry import find_network
from regraft.sources.source import Source

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class WholeNetwork:
    """A library's own network with its head.

    Attributes
    ----------
    source
        The network as a source, of which only name, preprocessing and classes count here.
    build
        Builds it with fresh weights; None where the library gives it without a head only.
    """

    source: Source
    build: Callable[[], nn.Module] | None = field(repr=False)

    @property
    def preprocessing(self) -> Preprocessing:
        """What an example goes through before the network reads it."""
        return self.source.preprocessing


def find_whole(name: str, *, size: int | None = None) -> WholeNetwork:
    """The network of this name, ``timm:resnet18``, ``hf:FOLDER``; no weights are read where that can be.

    ``size`` is the input size in pixels. Raises as :func:`regraft.sources.find`.
    """
    options = {} if size is None else {"size": size}
    source = find_network(name, **options)
    maker = _MAKERS.get(source.builder.name) if _has_head(source) else None
    return WholeNetwork(source, partial(maker, source, size) if maker else None)


def _has_head(source: Source) -> bool:
    """Whether the library's own network has a head: transformers' files name its class, as ``BertModel``."""
    config = source.builder.options.get("config")
    return config is None or "For" in (config.get("architectures") or [""])[0]


def _timm(source: Source, size: int | None) -> nn.Module:
    from regraft.sources.timm import EXTRA, PURPOSE
    from regraft.sources.vision import require_vision

    timm = require_vision("timm", PURPOSE, EXTRA)
    options = source.builder.options
    module: nn.Module = timm.create_model(options["model"], pretrained=False, **options["arguments"])
    return module


def _torchvision(source: Source, size: int | None) -> nn.Module:
    from regraft.sources.torchvision import _create

    options = source.builder.options
    fixed = {"image_size": size} if size and options["model"].startswith("vit_") else {}
    module: nn.Module = _create(options["model"], {**options["arguments"], **fixed})
    return module


def _transformers(source: Source, size: int | None) -> nn.Module:
    """The class that the model's own files name; the bare network where this version does not have it."""
    import transformers

    from regraft.sources.transformer import load_config

    config: Any = load_config(source.builder.options["config"])
    kind = getattr(transformers, (config.architectures or [""])[0], None)
    if not (isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel)):
        kind = transformers.AutoModel.from_config
    module: nn.Module = kind(config)
    return module


_MAKERS: dict[str, Callable[[Source, int | None], Any]] = {
    "timm": _timm,
    "torchvision": _torchvision,
    "transformers": _transformers,
}


def is_transformers_folder(path: Path) -> bool:
    """Whether a folder holds a model as transformers saves it."""
    return (path / "config.json").is_file() and not (path / "run.json").is_file()
