"""``file:PATH``: a checkpoint of the user's own, and the function that builds its network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from regraft.core.errors import SourceError, UsageError
from regraft.core.preprocessing import ImagePreprocessing, Preprocessing, TextPreprocessing
from regraft.sources.checkpoint import describe, open_checkpoint, weight_files
from regraft.sources.module import build_user, from_handed
from regraft.sources.source import BuilderSpec, NativeHead, Source

if TYPE_CHECKING:
    from torch import nn


def find(
    rest: str,
    *,
    builder: str | Callable[[], nn.Module] | None = None,
    preprocessing: Preprocessing | None = None,
    size: int = 224,
    tokenizer: str | Path | None = None,
    head: str | None = None,
    classes: Sequence[str] = (),
    licence: str = "not stated",
) -> Source:
    """The checkpoint at this path (safetensors, the index of a sharded one, or a torch file of tensors).

    Parameters
    ----------
    builder
        ``module:function`` or a function: builds the network, weights or not.
    preprocessing
        What the network reads; else ImageNet's usual at ``size`` pixels, or text where ``tokenizer`` names a
        ``tokenizer.json``.
    head, classes
        The submodule that is the classifier, and its classes.
    """
    path = _existing(rest)
    if builder is None:
        raise UsageError(
            f"file:{rest} holds tensors, not a network: say what builds it with builder='module:function' "
            "(--builder module:function)"
        )
    steps = preprocessing or _steps(size, tokenizer)
    weights = describe(weight_files(path), licence)
    source = from_handed(f"file:{rest}", builder, steps, weights, head=head, classes=classes)
    _check_names(source)
    return source


def find_weights(
    rest: str,
    *,
    preprocessing: Preprocessing | None = None,
    size: int = 224,
    tokenizer: str | Path | None = None,
    head: str | None = None,
    classes: Sequence[str] = (),
    licence: str = "not stated",
) -> Source:
    """The tensors at this path for a network that is another's; options as for :func:`find`."""
    return Source(
        name=f"file:{rest}",
        builder=BuilderSpec("user", {"head": head or "", "width": 0}),
        weights=describe(weight_files(_existing(rest)), licence),
        preprocessing=preprocessing or _steps(size, tokenizer),
        heads=(NativeHead(f"{head}.weight", f"{head}.bias", tuple(classes)),) if head else (),
    )


def _existing(rest: str) -> Path:
    path = Path(rest).expanduser()
    if not path.is_file():
        raise SourceError(f"there is no file {rest!r}")
    return path


def _steps(size: int, tokenizer: str | Path | None) -> Preprocessing:
    if tokenizer is None:
        return ImagePreprocessing(size=(size, size))
    path = Path(tokenizer).expanduser()
    if not path.is_file():
        raise SourceError(f"there is no tokenizer {str(tokenizer)!r}")
    return TextPreprocessing(tokenizer=path.read_bytes())


def _check_names(source: Source) -> None:
    """A checkpoint that shares no name with the network is another network's."""
    assert source.weights is not None
    held = set(open_checkpoint(source.weights.files).names())
    with torch.device("meta"):
        wanted = set(build_user(source).network.state_dict())
    if any(name in held or any(found.endswith("." + name) for found in held) for name in wanted):
        return
    raise SourceError(
        f"{source.name} is not a checkpoint of the network that {source.handed} builds: no name is shared. "
        f"The file holds {', '.join(sorted(held)[:4])}, ..; "
        f"the network wants {', '.join(sorted(wanted)[:4])}, .."
    )
