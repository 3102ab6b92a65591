"""Images in the form that a network reads: normalised pixels out of the cache."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from regraft.core.hashing import hash_bytes
from regraft.core.inputs import View
from regraft.core.preprocessing import ImagePreprocessing
from regraft.targets.augment import check_augmentation, random_view
from regraft.targets.decoding import Geometry
from regraft.targets.digests import Digests
from regraft.targets.pixel_cache import Pixels

if TYPE_CHECKING:
    from torch import Tensor


def geometry_of(preprocessing: ImagePreprocessing) -> Geometry:
    """What of a preprocessing decides which pixels are kept."""
    return Geometry(
        size=(preprocessing.size[0], preprocessing.size[1]),
        crop_fraction=preprocessing.crop_fraction,
        interpolation=preprocessing.interpolation,
        keep_aspect=preprocessing.keep_aspect,
        channels=preprocessing.channels,
    )


def content_keys(hashes: Sequence[str], preprocessing_fingerprint: str) -> list[str]:
    """Per example a hash of its content under its preprocessing."""
    return [hash_bytes(f"{digest}|{preprocessing_fingerprint}".encode()) for digest in hashes]


class ImageInputs:
    """Images as :class:`regraft.core.inputs.Inputs`: one piece each, batched as
    ``{"pixels": Float[Tensor, "B C H W"]}``.
    """

    def __init__(
        self, names: Sequence[str], hashes: Digests, pixels: Pixels, preprocessing: ImagePreprocessing
    ):
        self.names = names
        self.hashes = hashes
        self.preprocessing = preprocessing
        self.pixels = pixels
        self.owners = np.arange(len(names), dtype=np.int64)
        self.weights = np.ones(len(names), dtype=np.float32)
        self.buckets = np.zeros(len(names), dtype=np.int64)
        self.lengths: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def keys(self) -> list[str]:
        """Per example a hash of its content under its preprocessing."""
        return content_keys(self.hashes, self.preprocessing.fingerprint)

    def _drawn_by(self, piece: int, view: View) -> str:
        """What the random numbers of a view are keyed by, beside what the view itself says."""
        own = self.keys[piece]
        return content_keys([self.hashes[piece]], view.drawn_for)[0] if view.drawn_for else own

    def batch(self, pieces: np.ndarray, *, view: View | None = None) -> dict[str, Tensor]:
        """Normalised pixels of the given pieces; of a random view of them if one is asked for.

        Raises ``PlanError`` for a view that pictures of these channels cannot show.
        """
        import torch

        if view is not None:
            check_augmentation(view.augment, self.preprocessing.channels)
        height, width = self.preprocessing.size
        stacked = np.empty((len(pieces), height, width, self.preprocessing.channels), dtype=np.uint8)
        for place, piece in enumerate(pieces):
            pixels = self.pixels[int(piece)]
            stacked[place] = (
                pixels if view is None else random_view(pixels, view, self._drawn_by(int(piece), view))
            )
        values = torch.from_numpy(stacked).permute(0, 3, 1, 2).contiguous().float().div_(255)
        mean = torch.tensor(self.preprocessing.mean).view(1, -1, 1, 1)
        std = torch.tensor(self.preprocessing.std).view(1, -1, 1, 1)
        return {"pixels": values.sub_(mean).div_(std)}
