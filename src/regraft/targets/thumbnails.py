"""Thumbnails of images and beginnings of texts, for reports."""

from __future__ import annotations

import base64
import io
import warnings
from typing import TYPE_CHECKING

from regraft.targets.decoding import BadImageError, open_image, to_rgb
from regraft.targets.examples import ImageData

if TYPE_CHECKING:
    from regraft.targets.target import Target

_TEXT_LENGTH = 280


def thumbnail(target: Target, index: int, size: int = 96) -> dict[str, str | None]:
    """``{"thumbnail": data URI of a JPEG or None, "text": the text's beginning or None}``."""
    raw = target.examples.raw(int(index))
    if target.modality == "text":
        return {"thumbnail": None, "text": shortened(raw)}
    return {"thumbnail": image_uri(raw, size), "text": None}


def shortened(text: str, length: int = _TEXT_LENGTH) -> str:
    """The beginning of a text on one line."""
    line = " ".join(text[: 4 * length].split())
    return line if len(line) <= length else line[: length - 3] + " .."


def image_uri(data: ImageData, size: int = 96) -> str | None:
    """An image as a small JPEG in a data URI; None where it cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with open_image(data, (size, size)) as image:
                small = to_rgb(image)
    except BadImageError:
        return None
    small.thumbnail((size, size))
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
