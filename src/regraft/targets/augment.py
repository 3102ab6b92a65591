"""Random views of pictures: 8-bit pixels in, 8-bit pixels of the same shape out.

Each change draws from a generator of its own, keyed by (seed, change, step, example), so that a view does not
depend on which other changes are on, on its batch, or on the order in which examples are read. Geometric
changes act on every plane of the picture alike; changes of colours need three planes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from regraft.core.augmentation import Augmentation
from regraft.core.errors import PlanError
from regraft.core.inputs import View
from regraft.core.randomness import numpy_generator
from regraft.targets.augment_policies import rand_augment, trivial_augment

if TYPE_CHECKING:
    from PIL import Image

_GREY = 128  # what comes in from outside the picture
_ERASED_AREA = (0.02, 1 / 3)  # shares of the picture (Zhong et al. 2020, section 3.1)
_ERASED_ASPECT = (0.3, 1 / 0.3)


def check_augmentation(augment: Augmentation, channels: int) -> None:
    """Raise ``PlanError`` for changes that pictures of so many channels cannot show."""
    if augment.drop_tokens:
        raise PlanError("drop_tokens leaves out words of texts, and the data are pictures: set it to 0")
    if channels != 3 and augment.changes_colours:
        raise PlanError(
            f"{', '.join(augment.changes_colours)} changes colours, which pictures of {channels} channels do "
            "not have: set it to 0 (policy to none). Geometric changes, blur and erase work on any channels"
        )


def random_view(pixels: np.ndarray, view: View, key: str) -> np.ndarray:
    """A view of one picture, ``uint8 (H, W, C)``: a function of view and example.

    In this order: crop and mirror, the affine map (rotate, shift, scale), the policy, colours, blur, erase.
    """
    augment = view.augment
    pixels = _cropped(pixels, view, key)
    if augment.rotate or augment.shift or augment.scale:
        pixels = _moved(pixels, augment, _generator(view, "move", key))
    if augment.policy == "trivial":
        pixels = trivial_augment(pixels, _generator(view, "policy", key))
    elif augment.policy == "rand":
        generator = _generator(view, "policy", key)
        pixels = rand_augment(pixels, generator, number=augment.operations, magnitude=augment.magnitude)
    if augment.brightness or augment.contrast or augment.saturation or augment.hue or augment.grey:
        pixels = _recoloured(pixels, augment, _generator(view, "colour", key))
    if augment.blur:
        pixels = _blurred(pixels, augment.blur * _generator(view, "blur", key).random())
    if augment.erase:
        pixels = _erased(pixels, augment.erase, _generator(view, "erase", key))
    return pixels


def _generator(view: View, purpose: str, key: str) -> np.random.Generator:
    return numpy_generator(view.seed, f"view {purpose}", view.step, key)


def _cropped(pixels: np.ndarray, view: View, key: str) -> np.ndarray:
    """A part of the picture, at its size, perhaps mirrored."""
    mirrored, kept, right, down = numpy_generator(view.seed, "view", view.step, key).random(4)
    height, width = pixels.shape[:2]
    smallest = view.augment.crop
    share = smallest + (1 - smallest) * kept
    if smallest < 1:
        left, top = right * (1 - share) * width, down * (1 - share) * height
        pixels = _enlarged(pixels, (left, top, left + share * width, top + share * height))
    return pixels[:, ::-1] if mirrored < view.augment.mirror else pixels


def _enlarged(pixels: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    """The part of the picture in ``box`` at the size of the whole."""
    from PIL import Image

    height, width = pixels.shape[:2]
    return _stacked(
        [plane.resize((width, height), Image.Resampling.BILINEAR, box=box) for plane in _planes(pixels)]
    )


def _moved(pixels: np.ndarray, augment: Augmentation, generator: np.random.Generator) -> np.ndarray:
    """Turned, shifted and scaled about the middle, in one resampling."""
    from PIL import Image

    angle, right, down, size = generator.uniform(-1, 1, 4)
    height, width = pixels.shape[:2]
    turn = math.radians(angle * augment.rotate)
    factor = 1 / (1 + size * augment.scale)
    a, b = factor * math.cos(turn), factor * math.sin(turn)
    x, y = width / 2, height / 2  # PIL counts from the corner of the first pixel
    dx, dy = x + right * augment.shift * width, y + down * augment.shift * height
    # From a place in the new picture to its place in the old one.
    matrix = (a, b, x - a * dx - b * dy, -b, a, y + b * dx - a * dy)
    resampling = Image.Resampling.BILINEAR
    planes = [
        plane.transform(
            plane.size, Image.Transform.AFFINE, matrix, resample=resampling, fillcolor=_filling(plane)
        )
        for plane in _planes(pixels)
    ]
    return _stacked(planes)


def _filling(plane: Image.Image) -> int | tuple[int, ...]:
    return (_GREY,) * 3 if plane.mode == "RGB" else _GREY


def _recoloured(pixels: np.ndarray, augment: Augmentation, generator: np.random.Generator) -> np.ndarray:
    """Brightness, contrast, saturation and hue, in an order drawn anew; then perhaps no colours at all."""
    from PIL import Image, ImageEnhance

    order, factors = generator.permutation(4), generator.uniform(-1, 1, 4)
    grey = generator.random() < augment.grey
    image = Image.fromarray(np.ascontiguousarray(pixels))
    for index in order:
        if index == 0 and augment.brightness:
            image = ImageEnhance.Brightness(image).enhance(1 + factors[0] * augment.brightness)
        elif index == 1 and augment.contrast:
            image = ImageEnhance.Contrast(image).enhance(1 + factors[1] * augment.contrast)
        elif index == 2 and augment.saturation:
            image = ImageEnhance.Color(image).enhance(1 + factors[2] * augment.saturation)
        elif index == 3 and augment.hue:
            image = _turned_hue(image, factors[3] * augment.hue)
    return np.asarray(image.convert("L").convert("RGB") if grey else image)


def _turned_hue(image: Image.Image, turn: float) -> Image.Image:
    from PIL import Image

    hue, saturation, value = image.convert("HSV").split()
    turned = (np.asarray(hue).astype(np.int16) + round(turn * 255)) % 256
    return Image.merge("HSV", (Image.fromarray(turned.astype(np.uint8)), saturation, value)).convert("RGB")


def _blurred(pixels: np.ndarray, radius: float) -> np.ndarray:
    from PIL import ImageFilter

    return _stacked([plane.filter(ImageFilter.GaussianBlur(radius)) for plane in _planes(pixels)])


def _erased(pixels: np.ndarray, probability: float, generator: np.random.Generator) -> np.ndarray:
    """A rectangle filled with noise, as often as ``probability`` says."""
    if generator.random() >= probability:
        return pixels
    height, width, channels = pixels.shape
    area = generator.uniform(*_ERASED_AREA) * height * width
    aspect = math.exp(generator.uniform(math.log(_ERASED_ASPECT[0]), math.log(_ERASED_ASPECT[1])))
    tall = min(max(round(math.sqrt(area * aspect)), 1), height)
    wide = min(max(round(math.sqrt(area / aspect)), 1), width)
    top, left = int(generator.integers(height - tall + 1)), int(generator.integers(width - wide + 1))
    erased = pixels.copy()
    erased[top : top + tall, left : left + wide] = generator.integers(0, 256, (tall, wide, channels))
    return erased


def _planes(pixels: np.ndarray) -> list[Image.Image]:
    """One picture of three colours, or one for each channel."""
    from PIL import Image

    if pixels.shape[2] == 3:
        return [Image.fromarray(np.ascontiguousarray(pixels))]
    return [Image.fromarray(np.ascontiguousarray(plane)) for plane in np.moveaxis(pixels, 2, 0)]


def _stacked(planes: list[Image.Image]) -> np.ndarray:
    """The pixels of what :func:`_planes` gave."""
    arrays = [np.asarray(plane) for plane in planes]
    return arrays[0] if arrays[0].ndim == 3 else np.dstack(arrays)
