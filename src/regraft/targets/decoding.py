"""From bytes to pixels: what can be read is read right, what cannot raises with its reason.

Imports PIL and numpy only, so that the processes that decode start fast.
"""

from __future__ import annotations

import io
import os
import struct
import warnings
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

DECODING_VERSION = 1  # part of the cache's key: raise it when the rules below change what comes out
MAX_PIXELS = 100_000_000  # a larger picture is refused from its header, before it is decoded
PICTURE_CHANNELS = (1, 3, 4)  # grey, RGB, RGB with alpha: what files have, and what is turned into each other
_WHITE = (255, 255, 255, 255)
_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
_EXIF_ERRORS = (
    ArithmeticError, AttributeError, LookupError, OSError, SyntaxError, TypeError, ValueError, struct.error,
)  # fmt: skip
_KNOWN_STARTS = {
    b"%PDF": "a PDF",
    b"PK\x03\x04": "a ZIP archive",
    b"<svg": "an SVG drawing",
    b"<!DO": "a web page",
}


class BadImageError(Exception):
    """An image cannot be read; the message is the reason."""


@dataclass(frozen=True)
class Geometry:
    """The part of an image preprocessing that decides which pixels are kept."""

    size: tuple[int, int]
    crop_fraction: float = 0.875
    interpolation: str = "bicubic"
    keep_aspect: bool = True
    channels: int = 3

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {**asdict(self), "size": list(self.size), "decoding": DECODING_VERSION}


def read_pixels(data: str | bytes | np.ndarray, geometry: Geometry) -> np.ndarray:
    """Pixels ``uint8 (H, W, channels)`` of an image file, its bytes or its pixels.

    Raises :class:`BadImageError`. Channels beside RGB, alpha too, are resized each for itself.
    """
    # Damaged metadata and large sizes make PIL warn; both are judged here.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parts = [np.asarray(resize(part, geometry)) for part in _parts(data, geometry)]
    return parts[0] if geometry.channels == 3 else np.dstack(parts)


def _parts(data: str | bytes | np.ndarray, geometry: Geometry) -> list[Image.Image]:
    """The image as RGB or grey pictures, which are its channels in order."""
    wanted = geometry.channels
    if isinstance(data, np.ndarray):
        have = 1 if data.ndim == 2 else data.shape[2]
        if have == wanted and have != 3:
            planes = np.atleast_3d(data)
            return [_from_array(planes[:, :, channel]) for channel in range(have)]
        if not {have, wanted} <= set(PICTURE_CHANNELS):
            raise BadImageError(f"the image has {have} channels and {wanted} are wanted")
    elif wanted not in PICTURE_CHANNELS:
        raise BadImageError(f"image files have 1, 3 or 4 channels and {wanted} are wanted: hand over arrays")
    with open_image(data, geometry.size) as image:
        if wanted == 4:
            return list(_with_alpha(image))
        return [to_rgb(image) if wanted == 3 else _to_grey(image)]


def open_image(data: str | bytes | np.ndarray, wanted: tuple[int, int] | None = None) -> Image.Image:
    """The decoded first frame of an image, as it is stored. JPEG files are decoded at a fraction of their
    size where ``wanted`` (height, width) needs no more.
    """
    if isinstance(data, np.ndarray):
        return _from_array(data)
    try:
        stream = io.BytesIO(data) if isinstance(data, bytes) else data
        image = Image.open(stream)
    except Image.DecompressionBombError as error:
        raise BadImageError(f"decompression bomb: {error}") from error
    except UnidentifiedImageError as error:
        raise BadImageError(_what_it_is(data)) from error
    except Exception as error:  # PIL's readers raise whatever a damaged header makes them stumble over
        raise BadImageError(_open_reason(error)) from error
    return _loaded(image, wanted)


def _loaded(image: Image.Image, wanted: tuple[int, int] | None) -> Image.Image:
    pixels = image.width * image.height
    if pixels > MAX_PIXELS:
        image.close()
        raise BadImageError(
            f"decompression bomb: the header claims {image.width} x {image.height} pixels, "
            f"more than {MAX_PIXELS / 1e6:.0f} million"
        )
    try:
        if wanted is not None and image.format == "JPEG":
            image.draft(None, (2 * max(wanted), 2 * max(wanted)))  # twice the size leaves resampling room
        image.load()
    except Exception as error:  # a damaged file can raise OSError, ValueError, SyntaxError, struct.error, ..
        image.close()
        raise BadImageError(_decode_reason(error)) from error
    return image


def _open_reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, PermissionError):
        return "no permission to read this file"
    if isinstance(error, IsADirectoryError):
        return "this is a folder, not a file"
    return f"the image's header is damaged: {error}"


def _decode_reason(error: Exception) -> str:
    text = str(error) or type(error).__name__
    if "truncated" in text.lower() or isinstance(error, EOFError):
        return f"truncated: the file ends too early ({text})"
    return f"corrupt: {text}"


def _what_it_is(data: str | bytes) -> str:
    if isinstance(data, str):
        with open(data, "rb") as stream:
            start, size = stream.read(32), os.fstat(stream.fileno()).st_size
    else:
        start, size = data[:32], len(data)
    if size == 0:
        return "empty file (0 bytes)"
    for magic, kind in _KNOWN_STARTS.items():
        if start.startswith(magic):
            return f"not an image but {kind}"
    return f"not an image that can be read (it starts with {start[:12]!r})"


def _from_array(pixels: np.ndarray) -> Image.Image:
    """Pixels as a picture; of channels that are no picture the first three are shown, or the first alone."""
    if pixels.ndim == 3 and pixels.shape[2] not in PICTURE_CHANNELS:
        pixels = pixels[:, :, : 3 if pixels.shape[2] > 4 else 1]
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if 0 in pixels.shape:
        raise BadImageError(f"an array without pixels, shape {pixels.shape}")
    return Image.fromarray(np.ascontiguousarray(pixels))


def to_rgb(image: Image.Image) -> Image.Image:
    """RGB in 8 bits: EXIF orientation applied, transparency onto white, 16 bits scaled."""
    turned = _turned(image)
    if turned.mode == "RGB" and "transparency" not in turned.info:
        return turned
    if turned.mode in _SIXTEEN_BITS or turned.mode in ("I", "F"):
        return Image.fromarray(_eight_bits(np.asarray(turned), turned.mode)).convert("RGB")
    if has_alpha(turned):
        return _onto_white(turned)
    try:
        return turned.convert("RGB")
    except ValueError as error:
        raise BadImageError(f"colours of the kind {turned.mode} cannot be turned into RGB") from error


def has_alpha(image: Image.Image) -> bool:
    """Whether some of the picture may be transparent."""
    return "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "La", "RGBa")


def _turned(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except _EXIF_ERRORS:  # unreadable EXIF says nothing about the orientation; the picture itself is fine
        return image


def _to_grey(image: Image.Image) -> Image.Image:
    """Grey in 8 bits, as of the picture in RGB."""
    turned = _turned(image)
    plain = turned.mode == "L" and not has_alpha(turned)
    return turned if plain else to_rgb(turned).convert("L")


def _with_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image]:
    """RGB and alpha; a picture without alpha is opaque."""
    turned = _turned(image)
    if not has_alpha(turned):
        rgb = to_rgb(turned)
        return rgb, Image.new("L", rgb.size, 255)
    *colours, alpha = _clear(turned).split()
    return Image.merge("RGB", colours), alpha


def _clear(image: Image.Image) -> Image.Image:
    if image.mode in ("La", "RGBa"):
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    return image.convert("RGBA")


def _onto_white(image: Image.Image) -> Image.Image:
    clear = _clear(image)
    return Image.alpha_composite(Image.new("RGBA", clear.size, _WHITE), clear).convert("RGB")


def _eight_bits(values: np.ndarray, mode: str) -> np.ndarray:
    """16-bit values divided by 257; floats taken for 0..1 or 0..255."""
    low, high = float(values.min()), float(values.max())
    if mode != "F":
        if low < 0 or high > 65535:
            raise BadImageError(f"32-bit values from {low:.0f} to {high:.0f}: save it with 8 or 16 bits")
        return np.rint(values / 257.0).astype(np.uint8)
    if not (low >= 0 and high <= 255):  # also where a value is not a number
        raise BadImageError(f"floating-point values from {low:g} to {high:g}, not within 0..1 or 0..255")
    return np.rint(values * (255.0 if high <= 1 else 1.0)).astype(np.uint8)


def resize(image: Image.Image, geometry: Geometry) -> Image.Image:
    """Resize so that the centre crop of ``size`` keeps ``crop_fraction`` of the shorter side, and crop."""
    height, width = geometry.size
    method = _RESAMPLING[geometry.interpolation]
    gap = None if method == Image.Resampling.NEAREST else 3.0
    if not geometry.keep_aspect:
        return image.resize((width, height), method, reducing_gap=gap)
    image = _without_long_ends(image, height, width)
    to = _scaled_size(image.size, geometry)
    image = image.resize(to, method, reducing_gap=gap)
    left, top = round((to[0] - width) / 2), round((to[1] - height) / 2)
    return image.crop((left, top, left + width, top + height))


def _scaled_size(size: tuple[int, int], geometry: Geometry) -> tuple[int, int]:
    """Width and height after resizing; square inputs round as timm's and torchvision's ``Resize`` does."""
    (width, height), (to_height, to_width) = size, geometry.size
    if to_height == to_width:
        short = max(to_height, int(to_height / geometry.crop_fraction))
        long = int(short * max(size) / min(size))
        return (short, long) if width <= height else (long, short)
    scale = max(to_height / height, to_width / width) / geometry.crop_fraction
    return max(to_width, round(width * scale)), max(to_height, round(height * scale))


def _without_long_ends(image: Image.Image, height: int, width: int) -> Image.Image:
    """Cut what the centre crop cannot reach off very long pictures: resizing a 1 x 100,000 strip whole would
    make a picture of gigabytes.
    """
    reach = 4 * max(height / width, width / height)
    most_wide, most_high = int(image.height * reach), int(image.width * reach)
    if image.width <= most_wide and image.height <= most_high:
        return image
    wide, high = min(image.width, most_wide), min(image.height, most_high)
    left, top = (image.width - wide) // 2, (image.height - high) // 2
    return image.crop((left, top, left + wide, top + high))


def decode_into(
    folder: str, shape: tuple[int, ...], jobs: list[tuple[int, str | bytes | np.ndarray]], geometry: Geometry
) -> list[tuple[int, str]]:
    """Decode images into their slots of a shard and mark them done; returns the slots that failed, and why.

    The pixels are on disk before they are marked: a slot that is marked is whole.
    """
    pixels = np.memmap(os.path.join(folder, "pixels.u8"), dtype=np.uint8, mode="r+", shape=shape)
    done = np.memmap(os.path.join(folder, "done.u8"), dtype=np.uint8, mode="r+", shape=shape[:1])
    bad: list[tuple[int, str]] = []
    good: list[int] = []
    for slot, data in jobs:
        try:
            pixels[slot] = read_pixels(data, geometry)
            good.append(slot)
        except BadImageError as error:
            bad.append((slot, str(error)))
    pixels.flush()
    done[good] = 1
    done.flush()
    return bad
