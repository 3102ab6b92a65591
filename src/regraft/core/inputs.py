"""What a network reads, example by example, whatever the modality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from regraft.core.augmentation import DEFAULT_AUGMENTATION, Augmentation

if TYPE_CHECKING:
    from torch import Tensor

    from regraft.core.preprocessing import Preprocessing

Batch = Mapping[str, "Tensor"]


@dataclass(frozen=True)
class View:
    """Which random view of the examples is wanted: a function of ``(seed, step)`` and the example.

    Attributes
    ----------
    step
        The step that reads it, or the view's number where views are computed once and kept.
    augment
        Which random changes it may show.
    drawn_for
        Fingerprint of the preprocessing whose view it is, where another network is to see the same crop,
        mirroring and colours at its own size; empty for the view of the inputs themselves.
    """

    seed: int
    step: int
    augment: Augmentation = DEFAULT_AUGMENTATION
    drawn_for: str = ""


class Inputs(Protocol):
    """Examples in the form that a network reads.

    An example is one or more *pieces* (an image is one; a long text is several chunks). A network runs on
    pieces; an example's feature is the weighted mean of its pieces' features.

    Attributes
    ----------
    preprocessing
        What an example goes through before the network reads it.
    keys
        Per example, a hash of its content under its preprocessing: equal keys, equal tensors.
    names
        Per example, what a person calls it: a path, a row number.
    owners
        ``int64 (pieces,)``, ascending: the example that each piece belongs to.
    weights
        ``float32 (pieces,)``: the share of the piece in its example; they sum to 1 for each example.
    buckets
        ``int64 (pieces,)``: pieces of one bucket have tensors of one shape and can share a batch; the
        number grows with the cost of a piece.
    lengths
        ``int64 (pieces,)``: how long a piece is without its padding, where pieces are padded to the length
        of their bucket; None where they are not.
    """

    @property
    def preprocessing(self) -> Preprocessing: ...
    @property
    def keys(self) -> Sequence[str]: ...
    @property
    def names(self) -> Sequence[str]: ...
    @property
    def owners(self) -> np.ndarray: ...
    @property
    def weights(self) -> np.ndarray: ...
    @property
    def buckets(self) -> np.ndarray: ...
    @property
    def lengths(self) -> np.ndarray | None: ...

    def __len__(self) -> int:
        """Number of examples."""
        ...

    def batch(self, pieces: np.ndarray, *, view: View | None = None) -> dict[str, Tensor]:
        """Tensors of the given pieces, first dimension ``len(pieces)``; a random view of them if asked for.

        Pieces of different buckets are padded to the largest.
        """
        ...
