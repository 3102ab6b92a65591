"""TrivialAugment and RandAugment: operations of pictures drawn from one list.

- TrivialAugment (Müller & Hutter 2021, "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation"):
  one operation, one of 31 strengths, both uniform, from the wide space (their table 2).
- RandAugment (Cubuk et al. 2020, "RandAugment: Practical automated data augmentation with a reduced search
  space"): several operations after each other, all of one strength from 0 to 30.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

STRENGTHS = 31
_FILL = (128, 128, 128)
_WIDTH = 331  # RandAugment's shifts are of pictures of this width


def trivial_augment(pixels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """One operation of TrivialAugment's wide space on ``uint8 (H, W, 3)``."""
    name = _NAMES[int(generator.integers(len(_NAMES)))]
    strength = int(generator.integers(STRENGTHS)) / (STRENGTHS - 1)
    return _operate(pixels, [(name, _WIDE, strength, generator.random() < 0.5)])


def rand_augment(
    pixels: np.ndarray, generator: np.random.Generator, *, number: int, magnitude: int
) -> np.ndarray:
    """``number`` operations of RandAugment of one magnitude on ``uint8 (H, W, 3)``."""
    strength = magnitude / (STRENGTHS - 1)
    chosen = [
        (_NAMES[int(generator.integers(len(_NAMES)))], _NARROW, strength, generator.random() < 0.5)
        for _ in range(number)
    ]
    return _operate(pixels, chosen)


_Range = dict[str, float]
# The largest value of each operation; the share `strength` of it is used.
_WIDE: _Range = {"shear": 0.99, "translate": 32.0, "rotate": 135.0, "enhance": 0.99, "posterize": 6.0}
_NARROW: _Range = {
    "shear": 0.3, "translate": 150.0, "rotate": 30.0, "enhance": 0.9, "posterize": 4.0, "relative": 1.0,
}  # fmt: skip


def _operate(pixels: np.ndarray, chosen: list[tuple[str, _Range, float, bool]]) -> np.ndarray:
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(pixels))
    for name, largest, strength, negative in chosen:
        image = _OPERATIONS[name](image, largest, strength, -1 if negative else 1)
    return np.asarray(image)


Operation = Callable[["Image.Image", _Range, float, int], "Image.Image"]


def _identity(image: Image.Image, largest: _Range, strength: float, sign: int) -> Image.Image:
    return image


def _affine(image: Image.Image, matrix: tuple[float, ...]) -> Image.Image:
    from PIL import Image

    return image.transform(image.size, Image.Transform.AFFINE, matrix, fillcolor=_FILL)


def _shear_x(image: Image.Image, largest: _Range, strength: float, sign: int) -> Image.Image:
    return _affine(image, (1, sign * strength * largest["shear"], 0, 0, 1, 0))


def _shear_y(image: Image.Image, largest: _Range, strength: float, sign: int) -> Image.Image:
    return _affine(image, (1, 0, 0, sign * strength * largest["shear"], 1, 0))


def _pixels_of(largest: _Range, strength: float, side: int) -> float:
    """How far a shift goes: in pixels, or as a share of the side."""
    scale = side / _WIDTH if "relative" in largest else 1.0
    return round(strength * largest["translate"] * scale)


def _translate_x(image: Image.Image, largest: _Range, strength: float, sign: int) -> Image.Image:
    return _affine(image, (1, 0, sign * _pixels_of(largest, strength, image.width), 0, 1, 0))


def _translate_y(image: Image.Image, largest: _Range, strength: float, sign: int) -> Image.Image:
    return _affine(image, (1, 0, 0, 0, 1, sign * _pixels_of(largest, strength, image.height)))


def _rotate(image: Image.Image, largest: _Range, strength: float, sign: int) -> Image.Image:
    return image.rotate(sign * strength * largest["rotate"], fillcolor=_FILL)


def _enhanced(kind: str) -> Operation:
    def run(image: Image.Image, largest: _Range, strength: float, sign: int) -> Image.Image:
        from PIL import ImageEnhance

        enhancer = getattr(ImageEnhance, kind)(image)
        changed: Image.Image = enhancer.enhance(1 + sign * strength * largest["enhance"])
        return changed

    return run


def _posterize(image: Image.Image, largest: _Range, strength: float, sign: int) -> Image.Image:
    from PIL import ImageOps

    return ImageOps.posterize(image, 8 - round(strength * largest["posterize"]))


def _solarize(image: Image.Image, largest: _Range, strength: float, sign: int) -> Image.Image:
    from PIL import ImageOps

    return ImageOps.solarize(image, round(255 * (1 - strength)))


def _auto_contrast(image: Image.Image, largest: _Range, strength: float, sign: int) -> Image.Image:
    from PIL import ImageOps

    return ImageOps.autocontrast(image)


def _equalize(image: Image.Image, largest: _Range, strength: float, sign: int) -> Image.Image:
    from PIL import ImageOps

    return ImageOps.equalize(image)


_OPERATIONS: dict[str, Operation] = {
    "identity": _identity,
    "shear x": _shear_x,
    "shear y": _shear_y,
    "translate x": _translate_x,
    "translate y": _translate_y,
    "rotate": _rotate,
    "brightness": _enhanced("Brightness"),
    "saturation": _enhanced("Color"),
    "contrast": _enhanced("Contrast"),
    "sharpness": _enhanced("Sharpness"),
    "posterize": _posterize,
    "solarize": _solarize,
    "autocontrast": _auto_contrast,
    "equalize": _equalize,
}
_NAMES = tuple(_OPERATIONS)
