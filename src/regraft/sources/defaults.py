"""The source that is used where none is named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regraft.core.errors import SourceError

if TYPE_CHECKING:
    from regraft.sources.source import Source

DEFAULTS = {"image": "packaged:efficientnet-lite0", "text": "packaged:minilm"}
"""Small, quick on a CPU, and brought by a pip package, so that it works offline."""


def default_source(modality: str) -> str:
    """The name of the default source for examples of a modality."""
    if modality not in DEFAULTS:
        raise SourceError(f"there is no default source for {modality}; name one: --source NAME")
    return DEFAULTS[modality]


def small_like(source: Source) -> Source:
    """A small network without weights that reads what ``source`` reads, for the arm from scratch."""
    from regraft.sources.registry import find

    return find(f"small:{source.modality}", like=source)
