"""Thumbnails and texts of examples: foreign bytes, let through only as what they claim to be."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from regraft.report._words import ending, figure, is_number, joined, shortened

# Only raster formats: an SVG in a data URI could carry a script or fetch something.
_IMAGE = re.compile(r"data:image/(?:jpeg|png|webp|gif);base64,[A-Za-z0-9+/]+={0,2}")
_LONGEST_TEXT = 280
_LONGEST_NAME = 60


@dataclass(frozen=True)
class Example:
    """One example as shown: its picture (a data URI) or its text, and what is said about it."""

    item: str
    title: str
    note: str
    sure: str
    picture: str | None
    text: str | None


@dataclass
class Gallery:
    """Makes examples, and keeps their pictures together under ``budget`` characters.

    ``left_out`` counts the pictures that did not fit or were no pictures.
    """

    budget: int
    left_out: int = field(default=0, init=False)

    def example(self, entry: dict[str, Any], *, title: str, note: str = "", sure: str = "") -> Example:
        """An example from a JSON entry with ``item``, ``thumbnail`` and ``text``."""
        text = entry.get("text")
        return Example(
            item=ending(entry.get("item", ""), _LONGEST_NAME),
            title=shortened(title, _LONGEST_NAME),
            note=shortened(note, _LONGEST_NAME),
            sure=sure,
            picture=self._picture(entry.get("thumbnail")),
            text=None if text is None else shortened(text, _LONGEST_TEXT),
        )

    def _picture(self, uri: Any) -> str | None:
        if uri is None:
            return None
        if not isinstance(uri, str) or len(uri) > self.budget or not _IMAGE.fullmatch(uri):
            self.left_out += 1
            return None
        self.budget -= len(uri)
        return uri


def label_text(label: Any) -> str:
    """A label as a person reads it: a class, several classes, a value, or one for each output."""
    if label is None:
        return "no label"
    if isinstance(label, dict):
        return "; ".join(f"{name}: {label_text(value)}" for name, value in label.items())
    if isinstance(label, list | tuple):
        return joined([label_text(part) for part in label]) or "none"
    return figure(label) if is_number(label) and not isinstance(label, int) else str(label)
