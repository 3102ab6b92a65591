"""What has to be done to an example before a source can read it: data, kept in every bundle.

Sources state it, targets apply it; neither imports the other.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Literal

from regraft.core.errors import UsageError
from regraft.core.hashing import hash_bytes, hash_json

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
_MIDDLE = 0.5  # mean and std of a channel that nothing is known of


@dataclass(frozen=True)
class ImagePreprocessing:
    """Pixels, resized so that the centre crop of ``size`` keeps ``crop_fraction`` of the shorter side.

    There are as many channels as ``mean`` and ``std`` have values: 1 is grey, 3 is RGB, 4 is RGB with alpha;
    any other number is read from arrays only.

    Parameters
    ----------
    size
        Height and width in pixels of what the network reads.
    mean, std
        Per channel, for pixel values scaled to 0..1.
    crop_fraction
        1.0 uses the whole shorter side.
    interpolation
        How pixels are resampled.
    keep_aspect
        False squeezes the whole picture into ``size`` instead of cropping.
    """

    modality: ClassVar[str] = "image"
    size: tuple[int, int] = (224, 224)
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    crop_fraction: float = 0.875
    interpolation: Interpolation = "bicubic"
    keep_aspect: bool = True

    def __post_init__(self) -> None:
        if not self.mean or len(self.mean) != len(self.std) or min(self.std) <= 0:
            raise UsageError(
                f"mean is {self.mean} and std is {self.std}: give one of each for every channel, "
                "std above zero"
            )

    @classmethod
    def for_channels(cls, channels: int, **fields: Any) -> ImagePreprocessing:
        """For images of any number of channels: ImageNet's mean and std for 3, else 0.5 for each channel."""
        if channels == 3:
            return cls(**fields)
        return cls(mean=(_MIDDLE,) * channels, std=(_MIDDLE,) * channels, **fields)

    @property
    def channels(self) -> int:
        """Number of channels of what the network reads."""
        return len(self.mean)

    def resized(self, size: int) -> ImagePreprocessing:
        """The same at another input size in pixels."""
        return replace(self, size=(size, size))

    def with_channels(self, channels: int) -> ImagePreprocessing:
        """The same for another number of channels.

        Added ones have mean and std 0.5; a single one has the averages of those that there were.
        """
        more = (_MIDDLE,) * (channels - self.channels)
        mean, std = (*self.mean, *more)[:channels], (*self.std, *more)[:channels]
        if channels == 1:
            mean, std = (sum(self.mean) / self.channels,), (sum(self.std) / self.channels,)
        return replace(self, mean=mean, std=std)

    @property
    def fingerprint(self) -> str:
        """Hash of everything that changes the pixels."""
        return hash_json(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        lists = {name: list(getattr(self, name)) for name in ("size", "mean", "std")}
        return {"modality": self.modality, **asdict(self), **lists}

    @classmethod
    def from_json(cls, fields: dict[str, Any], files: dict[str, bytes]) -> ImagePreprocessing:
        """From plain JSON; no file is needed."""
        tuples = {name: tuple(fields[name]) for name in ("size", "mean", "std")}
        return cls(**{**fields, **tuples})


@dataclass(frozen=True)
class TextPreprocessing:
    """Token ids from a ``tokenizers`` file, cut into chunks of at most ``max_length`` tokens.

    Parameters
    ----------
    tokenizer
        The bytes of ``tokenizer.json`` (the format of the ``tokenizers`` package).
    max_length
        The most tokens that one chunk may have, special tokens included.
    pad_id
        The id that fills a batch.
    max_chunks
        The most chunks that are read of one text; what lies behind them is not read.
    """

    modality: ClassVar[str] = "text"
    tokenizer: bytes
    max_length: int = 256
    pad_id: int = 0
    max_chunks: int = 8

    @property
    def fingerprint(self) -> str:
        """Hash of everything that changes the token ids."""
        return hash_json(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """As plain JSON; the tokenizer is named by its hash and kept as a file beside it."""
        return {
            "modality": self.modality,
            "tokenizer_sha256": hash_bytes(self.tokenizer),
            "max_length": self.max_length,
            "pad_id": self.pad_id,
            "max_chunks": self.max_chunks,
        }

    @classmethod
    def from_json(cls, fields: dict[str, Any], files: dict[str, bytes]) -> TextPreprocessing:
        """From plain JSON and the tokenizer's file, whose hash has to be the one stated."""
        fields = dict(fields)
        stated = fields.pop("tokenizer_sha256")
        tokenizer = files.get("tokenizer.json", b"")
        if hash_bytes(tokenizer) != stated:
            raise ValueError("tokenizer.json is missing or is not the file that the model was saved with")
        return cls(tokenizer=tokenizer, **fields)


Preprocessing = ImagePreprocessing | TextPreprocessing


_KINDS: dict[str, type[ImagePreprocessing] | type[TextPreprocessing]] = {
    kind.modality: kind for kind in (ImagePreprocessing, TextPreprocessing)
}


def preprocessing_from_json(data: dict[str, Any], files: dict[str, bytes]) -> Preprocessing:
    """The preprocessing that a bundle describes; ``files`` holds ``tokenizer.json`` where text is read.

    Raises ``ValueError`` where the description and the files do not fit together.
    """
    fields = dict(data)
    modality = fields.pop("modality")
    if modality not in _KINDS:
        raise ValueError(f"unknown modality {modality!r} in the description of the preprocessing")
    return _KINDS[modality].from_json(fields, files)
