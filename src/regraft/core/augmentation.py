"""Which random changes a view of an example may show: plain data that plans say and inputs carry out."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

Policy = Literal["none", "trivial", "rand"]

_SHARES = ("crop", "mirror", "shift", "brightness", "contrast", "saturation", "grey", "erase", "drop_tokens")


@dataclass(frozen=True)
class Augmentation:
    """Random changes of an example; what is 0 is off. The default is a mirrored, slightly enlarged picture.

    Attributes
    ----------
    crop
        Smallest share of each side of the picture that is kept and enlarged; 1 keeps all of it.
    mirror
        How often left and right change places. Set it to 0 where that changes the meaning: lettering, hands.
    rotate
        Largest angle in degrees, either way.
    shift
        Largest shift as a share of each side, either way.
    scale
        Largest share by which the picture is made larger or smaller.
    brightness, contrast, saturation
        Largest share by which each is made stronger or weaker.
    hue
        Largest turn of the colour wheel, either way; 0.5 reaches the opposite colour.
    grey
        How often colours are taken away.
    blur
        Largest radius of a Gaussian blur, in pixels.
    erase
        How often a random rectangle is filled with noise (random erasing, Zhong et al. 2020).
    policy
        ``trivial``: one operation of random strength (TrivialAugment, Müller & Hutter 2021, wide space);
        ``rand``: ``operations`` of one strength, ``magnitude`` (RandAugment, Cubuk et al. 2020).
    operations, magnitude
        Of ``rand``: how many, and how strong from 0 to 30.
    drop_tokens
        Probability with which each token of a text is left out; special tokens never are.
    """

    crop: float = 0.8
    mirror: float = 0.5
    rotate: float = 0.0
    shift: float = 0.0
    scale: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    grey: float = 0.0
    blur: float = 0.0
    erase: float = 0.0
    policy: Policy = "none"
    operations: int = 2
    magnitude: int = 9
    drop_tokens: float = 0.0

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 - read by the plan's schema: a name that is none is an error

    def __post_init__(self) -> None:
        for name in _SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share from 0 to 1; got {getattr(self, name)}")
        limits = {
            "crop": (0.05, 1.0),
            "rotate": (0.0, 180.0),
            "scale": (0.0, 0.9),
            "hue": (0.0, 0.5),
            "blur": (0.0, 50.0),
            "drop_tokens": (0.0, 0.9),
            "operations": (1, 14),
            "magnitude": (0, 30),
        }
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} goes from {low:g} to {high:g}; got {getattr(self, name)}")

    @property
    def changes_colours(self) -> tuple[str, ...]:
        """Names of the changes that are on and that only pictures of three colours can show."""
        names = ("brightness", "contrast", "saturation", "hue", "grey")
        there = tuple(name for name in names if getattr(self, name))
        return (*there, *(("policy",) if self.policy != "none" else ()))

    @property
    def changed_for_pictures(self) -> tuple[str, ...]:
        """Names of the changes of pictures that were asked for beyond the default."""
        plain = Augmentation()
        return tuple(
            field.name
            for field in fields(self)
            if field.name != "drop_tokens" and getattr(self, field.name) != getattr(plain, field.name)
        )


DEFAULT_AUGMENTATION = Augmentation()
