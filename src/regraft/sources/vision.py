"""Imports of torchvision, and of what needs it, with a sentence for the usual accident."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from regraft.core.errors import SourceError
from regraft.core.optional import require


def require_vision(package: str, purpose: str, install: str) -> ModuleType:
    """Import ``package``, which is or needs torchvision.

    Raises ``MissingPackageError``, or ``SourceError`` with the line that mends a torchvision built for
    another torch.
    """
    try:
        return require(package, purpose, install)
    except (ImportError, RuntimeError, AttributeError, OSError) as error:
        if "torchvision" not in str(error):
            raise
        raise SourceError(_mismatch(purpose, error)) from error


def _mismatch(purpose: str, error: BaseException) -> str:
    from importlib.metadata import PackageNotFoundError, version

    import torch

    try:
        found = f"torchvision {version('torchvision')}"
    except PackageNotFoundError:
        return f"{purpose} needs torchvision, which is not installed. Run: pip install torchvision"
    return (
        f"{purpose}: {found} does not match torch {torch.__version__} ({str(error).splitlines()[0]}). "
        "Install both from the same index: pip install --upgrade --force-reinstall torch torchvision"
    )


def check_arguments(library: str, model: str, arguments: Mapping[str, Any], known: Sequence[str]) -> None:
    """Refuse what a bundle's file would hand to a library's builder and could make it load something.

    Arguments can name files and addresses (``checkpoint_path``, ``weights_backbone``) or ask for weights
    (``pretrained``), and so can a model's name (``hf-hub:``, ``local-dir:``); numbers cannot. ``known`` are
    those that regraft itself writes down. Raises :class:`SourceError`.
    """
    strange = sorted(name for name in set(arguments) - set(known) if not _of_numbers(arguments[name]))
    if strange:
        raise SourceError(
            f"{library}'s {model} is to be built with {', '.join(strange)}, which no run of regraft writes "
            f"down (known: {', '.join(known)}): model.json was changed; fit again, or take it from where it "
            "came from"
        )
    if not model.isidentifier():
        raise SourceError(
            f"{model!r} is not the name of a model of {library}: model.json was changed; fit again, or take "
            "it from where it came from"
        )


def _of_numbers(value: Any) -> bool:
    """Whether a value is a number, or numbers in a row; what is on or off counts as none."""
    if isinstance(value, list | tuple):
        return all(_of_numbers(entry) for entry in value)
    return isinstance(value, int | float) and not isinstance(value, bool)
