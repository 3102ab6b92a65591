"""How one part of a joined source sees pixels that were prepared for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from regraft.core.errors import SourceError
from regraft.core.preprocessing import ImagePreprocessing


@dataclass(frozen=True)
class Fit:
    """From pixels as all parts get them to pixels as one of them wants them: cut, resized, normalised.

    What is equal already is left as it is, to the bit.

    Attributes
    ----------
    crop
        Height and width of the middle that the part sees.
    size
        Height and width that it reads.
    scale, shift
        Per channel: ``scale * pixels + shift`` has the part's mean and std.
    mode
        How pixels are resampled, smoothed where they get fewer.
    """

    crop: tuple[int, int]
    size: tuple[int, int]
    scale: tuple[float, ...] = ()
    shift: tuple[float, ...] = ()
    mode: Literal["bicubic", "bilinear"] = "bicubic"

    def __call__(self, pixels: Tensor) -> Tensor:
        """``(pieces, channels, H, W)`` to ``(pieces, channels, *size)``."""
        top, left = ((have - want) // 2 for have, want in zip(pixels.shape[2:], self.crop, strict=True))
        pixels = pixels[:, :, top : top + self.crop[0], left : left + self.crop[1]]
        if self.crop != self.size:
            rows, columns = (
                torch.from_numpy(resampling(have, want, self.mode)).to(pixels)
                for have, want in zip(self.crop, self.size, strict=True)
            )
            # Matrices, because exporters know no smoothed resampling.
            pixels = rows @ pixels @ columns.T
        if not self.scale:
            return pixels
        scale, shift = (
            torch.tensor(values, dtype=pixels.dtype, device=pixels.device)[:, None, None]
            for values in (self.scale, self.shift)
        )
        return pixels * scale + shift

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Fit:
        """From plain JSON."""
        pairs = {name: tuple(data[name]) for name in ("crop", "size", "scale", "shift")}
        return cls(**pairs, mode=data["mode"])


@lru_cache(maxsize=64)
def resampling(have: int, want: int, mode: str) -> np.ndarray:
    """The matrix that resamples ``have`` pixels to ``want``, ``Float[ndarray, "want have"]``.

    That of ``torch.nn.functional.interpolate(.., antialias=True)``: each row holds the kernel around the
    middle of one pixel to be, as many times wider as pixels get fewer, and sums to 1.
    """
    wider = max(have / want, 1.0)
    middles = (np.arange(want) + 0.5) * have / want
    apart = np.abs(np.arange(have) + 0.5 - middles[:, None]) / wider
    weights = _cubic(apart) if mode == "bicubic" else np.clip(1 - apart, 0, None)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def _cubic(x: np.ndarray, a: float = -0.5) -> np.ndarray:
    """Keys' cubic kernel (1981)."""
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * a - 4 * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def one_for_all(wanted: Sequence[ImagePreprocessing], name: str) -> ImagePreprocessing:
    """The pixels from which every part can get its own: the widest crop, fine enough for each.

    Mean, std and resampling are those of the first part. Raises ``SourceError`` where no pixels suit all.
    """
    first = wanted[0]
    for one in wanted[1:]:
        _check_alike(first, one, name)
    widest = max(one.crop_fraction for one in wanted)
    sides = [[_at_least(side, widest / one.crop_fraction) for side in one.size] for one in wanted]
    size = (max(side[0] for side in sides), max(side[1] for side in sides))
    return replace(first, size=size, crop_fraction=widest)


def fit_for(part: ImagePreprocessing, common: ImagePreprocessing) -> Fit:
    """How ``part`` gets its pixels from those of :func:`one_for_all`."""
    share = part.crop_fraction / common.crop_fraction
    height, width = (round(side * share) for side in common.size)
    scale, shift = _renormalise(part, common)
    smooth = part.interpolation in ("bicubic", "lanczos")
    return Fit((height, width), part.size, scale, shift, "bicubic" if smooth else "bilinear")


def _renormalise(
    part: ImagePreprocessing, common: ImagePreprocessing
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if (part.mean, part.std) == (common.mean, common.std):
        return (), ()
    pairs = list(zip(common.mean, common.std, part.mean, part.std, strict=True))
    scale = tuple(std / own_std for _, std, _, own_std in pairs)
    return scale, tuple((mean - own) / own_std for mean, _, own, own_std in pairs)


def _check_alike(first: ImagePreprocessing, other: ImagePreprocessing, name: str) -> None:
    if first.channels != other.channels:
        raise SourceError(
            f"{name}: its parts read images of {first.channels} and of {other.channels} channels; join those "
            "that read as many"
        )
    same_form = first.size[0] * other.size[1] == first.size[1] * other.size[0]
    if first.keep_aspect != other.keep_aspect or not same_form:
        raise SourceError(
            f"{name}: one part crops or squeezes pictures otherwise than another ({_form(first)} and "
            f"{_form(other)}), so that no pixels suit both; open them at one size: --size {first.size[0]}"
        )


def _form(steps: ImagePreprocessing) -> str:
    height, width = steps.size
    return f"{height} x {width}, {'cropped' if steps.keep_aspect else 'squeezed'}"


def _at_least(side: int, factor: float) -> int:
    return -int(-side * factor // 1)
