"""A candidate on its way through the cascade."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from regraft.choosing.prior import Standing
from regraft.choosing.ranking.candidate import Candidate
from regraft.choosing.ranking.reader import Reader
from regraft.choosing.ranking.score import Score
from regraft.core.console import say
from regraft.core.errors import FullDiskError, RegraftError, SealedError
from regraft.engine.price import Price

_FOREIGN = (RegraftError, RuntimeError, OSError, MemoryError, ValueError)
"""What a network or its files may raise: the candidate fails, and the others go on."""
_OURS = (SealedError, FullDiskError)
"""What no other candidate would escape."""


@dataclass
class Entrant:
    """What is known of a candidate so far; stages add to it.

    Attributes
    ----------
    seconds
        Of its network for one example.
    score
        Of the last sample that it was scored on, at the size that it was read at.
    value, error, chance
        What was thought of it at the end of its last stage: its figure on the scale, the standard error of
        that, and the probability that it is the best.
    """

    candidate: Candidate
    standing: Standing
    reader: Reader
    looker: Reader | None = None
    seconds: float = 0.0
    stage: str = "prior"
    score: Score | None = None
    value: float = 0.0
    error: float = 0.0
    chance: float | None = None
    price: Price | None = None
    dropped: str = ""
    failed: str = ""
    left_out: str = ""

    def close(self) -> None:
        """Let go of its networks."""
        self.reader.close()
        if self.looker is not None:
            self.looker.close()

    @property
    def name(self) -> str:
        """Of the source."""
        return self.candidate.name

    @property
    def alive(self) -> bool:
        """Whether it may still be chosen."""
        return not (self.dropped or self.failed or self.left_out)


@contextmanager
def guarded(one: Entrant) -> Iterator[None]:
    """Inside, what the candidate's network or its files raise is its failure, which is said."""
    try:
        yield
    except _OURS:
        raise
    except _FOREIGN as error:
        ours = isinstance(error, RegraftError)
        one.failed = str(error) if ours else f"{type(error).__name__}: {error}"
        one.close()
        say(f"{one.name} fails and is left out: {one.failed}")
