"""What names alone say about a network: its blocks, and which tensors belong together."""

from __future__ import annotations

import re

_NUMBER = re.compile(r"(?:\w*(?:layer|block|stage)_)?\d+")


def block_of_name(name: str) -> str:
    """The block that a tensor belongs to: its path up to the first number, else its first part.

    ``encoder.layer.3.output.dense.weight`` is in ``encoder.layer.3``, ``conv1.weight`` in ``conv1``, and
    torchvision's ``encoder.layers.encoder_layer_3.ln_1.weight`` in ``encoder.layers.encoder_layer_3``.
    """
    parts = name.split(".")[:-1] or name.split(".")
    for place, part in enumerate(parts):
        if _NUMBER.fullmatch(part):
            return ".".join(parts[: place + 1])
    return parts[0]
