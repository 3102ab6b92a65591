"""What a misspelt name may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: object, there: Iterable[str]) -> str:
    """``; did you mean 'trainable'?`` where something like the name is there; else nothing."""
    near = difflib.get_close_matches(str(name), list(there), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
