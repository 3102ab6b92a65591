"""``packaged:NAME``: sources whose weights a pip package brings."""

from __future__ import annotations

from regraft.core.errors import SourceError
from regraft.sources import efficientnet_lite
from regraft.sources.source import Source


def find(rest: str, *, size: int | None = None) -> Source:
    """The packaged source called ``rest``; ``size`` is the input size in pixels, for images."""
    if rest in efficientnet_lite.NATIVE_SIZES:
        return efficientnet_lite.find(rest, size=size)
    from regraft.sources.registry import unknown

    raise SourceError(unknown(f"packaged:{rest}"))
