"""Channels of images: what examples have, what a network reads, and which of it goes together.

Grey, RGB and RGB with alpha are pictures, which are turned into each other: grey is repeated, alpha is laid
onto white or made opaque. Any other number of channels stands for itself and is read from arrays only.
"""

from __future__ import annotations

import warnings

import numpy as np

from regraft.core.errors import UsageError
from regraft.core.preprocessing import ImagePreprocessing
from regraft.targets.decoding import PICTURE_CHANNELS, BadImageError, has_alpha, open_image
from regraft.targets.examples import Examples, ImageArrays
from regraft.targets.joined import JoinedImages

_LOOKED_AT = 16  # files whose headers say whether pictures have alpha

OPAQUE = "Images without an alpha channel get an opaque one, because the network reads 4 channels."


def channels_last(array: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Images ``(N, H, W)`` or ``(N, H, W, C)``, and the sentence that says so where channels came first."""
    if array.ndim != 4:
        return array, []
    _, first, middle, last = array.shape
    # A picture that is square but for a side of a few pixels is a picture with its channels in front.
    in_front = first in PICTURE_CHANNELS or (first < middle == last)
    if last in PICTURE_CHANNELS or not in_front:
        return array, []
    return np.moveaxis(array, 1, 3), [f"Images {array.shape} are taken for (N, channels, height, width)."]


def channels_of(examples: Examples) -> int | None:
    """How many channels every example has; None where files say it, each for itself."""
    if isinstance(examples, JoinedImages):
        each = {channels_of(store) for store in examples.stores}
        return each.pop() if len(each) == 1 else None
    if not isinstance(examples, ImageArrays):
        return None
    return 1 if examples.array.ndim == 3 else int(examples.array.shape[3])


def check_channels(examples: Examples, preprocessing: ImagePreprocessing) -> None:
    """Raise ``UsageError`` where the examples' channels cannot become those that the network reads."""
    have, wanted = channels_of(examples), preprocessing.channels
    if have == wanted or (have in (None, *PICTURE_CHANNELS) and wanted in PICTURE_CHANNELS):
        return
    if have is None:
        raise UsageError(
            f"the network reads images of {wanted} channels, and image files have 1, 3 or 4: hand the images "
            f"over as arrays, Target.from_arrays(X, y) with X of the shape (N, height, width, {wanted})"
        )
    raise UsageError(
        f"the images have {have} channels and the network reads {wanted}: give images of {wanted} channels, "
        f"or grow the source into a network that reads {have} (network=, --network)"
    )


def opaque_notes(examples: Examples, preprocessing: ImagePreprocessing) -> tuple[str, ...]:
    """The sentence that says that alpha is made up, where it is, as far as a few examples show."""
    if preprocessing.channels != 4 or channels_of(examples) == 4:
        return ()
    few = range(min(len(examples), _LOOKED_AT))
    return () if all(_shows_alpha(examples.raw(index)) for index in few) else (OPAQUE,)


def _shows_alpha(data: str | bytes | np.ndarray) -> bool:
    """Whether a picture has alpha; one that cannot be read says nothing against it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with open_image(data) as image:
                return has_alpha(image)
    except BadImageError:
        return True
