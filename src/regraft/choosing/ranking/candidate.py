"""A source that may be chosen."""

from __future__ import annotations

from dataclasses import dataclass

from regraft.choosing.prior import Facts
from regraft.sources import Source


@dataclass(frozen=True)
class Candidate:
    """A source with what is known of it before anything is run.

    Attributes
    ----------
    source
        As it will be fine-tuned.
    facts
        What a prior reads.
    smaller
        The same source at a smaller input size, for a first look; None where it has none.
    """

    source: Source
    facts: Facts
    smaller: Source | None = None

    @property
    def name(self) -> str:
        """As the user typed it."""
        return self.source.name


@dataclass(frozen=True)
class Failure:
    """A source that was asked for and cannot be ranked, and why."""

    name: str
    reason: str
