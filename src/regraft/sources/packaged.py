"""``packaged:NAME``: sources whose weights a pip package brings."""

from __future__ import annotations

from regraft.core.errors import SourceError, UsageError
from regraft.sources import efficientnet_lite
from regraft.sources.source import Source


def find(rest: str, *, size: int | None = None) -> Source:
    """The packaged source called ``rest``; ``size`` is the input size in pixels, for images."""
    if rest in efficientnet_lite.NATIVE_SIZES:
        return efficientnet_lite.find(rest, size=size)
    if rest == "minilm":
        if size is not None:
            raise UsageError("packaged:minilm reads text: it has no input size in pixels")
        from regraft.sources import minilm

        return minilm.find()
    from regraft.sources.registry import unknown

    raise SourceError(unknown(f"packaged:{rest}"))
