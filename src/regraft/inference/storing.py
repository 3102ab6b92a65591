"""How the values of a prefix are stored: their precision, and whether padding is stored with them.

Both are decided on a few real examples, by running what stands behind the cut on the values as they would
come back, and the shelf remembers what was found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from regraft.core.console import say
from regraft.core.inputs import Batch
from regraft.sources import Trunk

ACTIVATIONS = ("float32", "float16")


@dataclass(frozen=True)
class Storing:
    """Decided for one shelf.

    Attributes
    ----------
    values
        ``float32``, exact, or ``float16``.
    padding
        Whether the padded end of a ragged value is stored: only where something behind the cut looks at it.
    effect
        Largest difference of the pooled features that float16 makes, relative to the largest feature,
        measured on a few examples; None for float32.
    """

    values: str = "float32"
    padding: bool = True
    effect: float | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain JSON, for ``shelf.json``."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Storing | None:
        """What a shelf remembers; None where it remembers nothing of the kind."""
        try:
            return cls(str(data["values"]), bool(data["padding"]), data["effect"])
        except KeyError:
            return None


def decide_storing(
    trunk: Trunk, cut: int, batch: Batch, *, wanted: str, lengths: np.ndarray | None, label: str
) -> Storing:
    """Decide on a few examples, as one batch on the trunk's device.

    Parameters
    ----------
    lengths
        How much of each example's first dimension is no padding; None where nothing is padded.
    label
        What the prefix is called when something is said about it.
    """
    with torch.inference_mode():
        value = trunk.prefix(batch, cut=cut)
        assert value is not None
        features = trunk.suffix(value, batch, cut=cut)
        padding = not _ends_do_not_matter(trunk, cut, batch, value, features, lengths)
        if wanted == "float32":
            return Storing(padding=padding)
        if overflows(value):
            say_refusal(value, label)
            return Storing(padding=padding)
        again = trunk.suffix(value.half().float(), batch, cut=cut)
    effect = float((again - features).abs().max()) / (float(features.abs().max()) or 1.0)
    say(f"Activations {label} are kept in float16: it changes the features by {effect:.1e} (relative).")
    return Storing("float16", padding, effect)


def overflows(value: Tensor) -> bool:
    """Whether float16 has no room for a value."""
    return bool((value.abs() > torch.finfo(torch.float16).max).logical_and(value.isfinite()).any())


def say_refusal(value: Tensor, label: str) -> None:
    """Say why values stay in float32."""
    finite = value[value.isfinite()]
    say(
        f"Activations {label} are kept in float32, not in float16 as asked: they reach "
        f"{float(finite.abs().max()):.3g}, and float16 ends at 65504."
    )


def is_ragged(value: Tensor, batch: Batch) -> bool:
    """Whether the second dimension of a value follows that of the inputs, as tokens do."""
    first = next(iter(batch.values()))
    return value.ndim >= 3 and first.ndim >= 2 and value.shape[1] == first.shape[1]


def _ends_do_not_matter(
    trunk: Trunk, cut: int, batch: Batch, value: Tensor, features: Tensor, lengths: np.ndarray | None
) -> bool:
    """Whether other values in the place of padded ends change no bit of the features.

    Zeros are what will stand there; large ones are seen by a maximum too, which zeros need not reach.
    """
    if lengths is None or not is_ragged(value, batch) or int(lengths.min()) >= value.shape[1]:
        return False  # where nothing is padded nothing can be seen
    for fill in (0.0, *(sign * 4 * float(value.abs().max()) for sign in (1, -1))):
        bare = value.clone()
        for row, length in enumerate(lengths.tolist()):
            bare[row, length:] = fill
        if not torch.equal(trunk.suffix(bare, batch, cut=cut), features):
            return False
    return True
