"""What names alone say about a network: its blocks, and which tensors belong together."""

from __future__ import annotations

import re

_NUMBER = re.compile(r"\d+")


def block_of_name(name: str) -> str:
    """The block that a tensor belongs to: its path up to the first number, else its first part.

    ``encoder.layer.3.output.dense.weight`` is in ``encoder.layer.3``, ``conv1.weight`` in ``conv1``.
    """
    parts = name.split(".")[:-1] or name.split(".")
    for place, part in enumerate(parts):
        if _NUMBER.fullmatch(part):
            return ".".join(parts[: place + 1])
    return parts[0]
