"""The same source at a smaller input size, where it reads any."""

from __future__ import annotations

from regraft.core.errors import RegraftError
from regraft.core.preprocessing import ImagePreprocessing
from regraft.sources.registry import find, takes_option
from regraft.sources.source import Source

_STEP = 32  # pixels: the networks that are common divide their input by 32


def at_smaller_size(source: Source, *, factor: float = 0.5) -> Source | None:
    """The source reading about ``factor`` times as many pixels a side; None where it cannot.

    A network that was handed over in memory, a joined one and one of one size only stay as they are.
    """
    steps = source.preprocessing
    if source.handed is not None or source.parts or not isinstance(steps, ImagePreprocessing):
        return None
    side = max(_STEP, round(steps.size[0] * factor / _STEP) * _STEP)
    if steps.size[0] != steps.size[1] or side >= steps.size[0] or not takes_option(source.name, "size"):
        return None
    try:
        return find(source.name, **{**source.options, "size": side})
    except RegraftError:
        return None
