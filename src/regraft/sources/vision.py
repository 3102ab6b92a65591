"""Imports of torchvision, and of what needs it, with a sentence for the usual accident."""

from __future__ import annotations

from types import ModuleType

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
