"""Optional packages, imported when used and named with the line that installs them."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from regraft.core.errors import MissingPackageError


def require(package: str, purpose: str, install: str) -> ModuleType:
    """Import ``package`` or raise :class:`MissingPackageError` with the line to type.

    ``purpose`` opens the sentence, as in "Reading timm models".
    """
    if importlib.util.find_spec(package.split(".")[0]) is None:
        raise MissingPackageError(package, purpose, install)
    return importlib.import_module(package)


def is_installed(package: str) -> bool:
    """Whether ``package`` could be imported; nothing is imported."""
    return importlib.util.find_spec(package) is not None
