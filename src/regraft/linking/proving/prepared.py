"""Preprocessing: what the source's examples went through and the target's do not."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from regraft.core.preprocessing import ImagePreprocessing, Preprocessing

_WORDS = {
    "size": "input size",
    "mean": "mean",
    "std": "standard deviation",
    "crop_fraction": "crop",
    "interpolation": "interpolation",
    "keep_aspect": "aspect kept",
    "tokenizer": "tokenizer",
    "max_length": "longest chunk",
    "pad_id": "padding id",
    "max_chunks": "most chunks",
}


def compare_preprocessing(source: Preprocessing, target: Preprocessing) -> tuple[str, ...]:
    """A sentence for each step that differs; none where both prepare their examples in the same way."""
    if type(source) is not type(target):
        return (f"the source reads {_reads(source)}, the target {_reads(target)}",)
    said = []
    for name in (field.name for field in fields(source)):
        theirs, ours = getattr(source, name), getattr(target, name)
        if theirs != ours:
            said.append(_say(name, theirs, ours))
    if isinstance(source, ImagePreprocessing) and isinstance(target, ImagePreprocessing):
        said += _say_channels(source, target)
    return tuple(said)


def _reads(steps: Preprocessing) -> str:
    return "images" if isinstance(steps, ImagePreprocessing) else "text"


def _say(name: str, theirs: Any, ours: Any) -> str:
    if isinstance(theirs, bytes):
        return f"{_WORDS[name]}: the target has another one than the source"
    return f"{_WORDS[name]}: {_plain(theirs)} in the source, {_plain(ours)} in the target"


def _plain(value: Any) -> str:
    return " ".join(f"{number:g}" for number in value) if isinstance(value, tuple) else str(value)


def _say_channels(source: ImagePreprocessing, target: ImagePreprocessing) -> list[str]:
    if source.channels != target.channels:
        return [f"channels: {source.channels} in the source, {target.channels} in the target"]
    turned = (source.mean[::-1], source.std[::-1])
    if turned == (target.mean, target.std) != (source.mean, source.std):
        return ["channel order: mean and std of the target are those of the source turned round (BGR)"]
    return []
