"""What choosing a run's source or strategy has already seen and cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Selection:
    """How a run's source, strategy or settings were chosen among several; ``selection`` in ``run.json``.

    Whoever chooses writes it: ``run.note(selection=Selection(..).to_json())``. A verdict then uses seeds that
    the choice has not seen, and its costs name what the choice took.

    Attributes
    ----------
    seeds
        Seeds whose draws decided the choice.
    candidates
        Among how many it was made.
    seconds
        What it took.
    how
        In a few words, as in ``regraft rank``.
    """

    seeds: tuple[int, ...] = ()
    candidates: int = 1
    seconds: float = 0.0
    how: str = ""

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {**asdict(self), "seeds": list(self.seeds)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Selection:
        """From plain JSON; what is not there is as if nothing had been chosen."""
        return cls(
            tuple(int(seed) for seed in data.get("seeds") or ()),
            int(data.get("candidates") or 1),
            float(data.get("seconds") or 0.0),
            str(data.get("how") or ""),
        )


def fresh_seeds(own: int, count: int, seen: Sequence[int] = ()) -> tuple[int, ...]:
    """The next ``count`` seeds after the run's own that no choice has seen."""
    taken, fresh, seed = {own, *seen}, list[int](), own
    while len(fresh) < count:
        seed += 1
        if seed not in taken:
            fresh.append(seed)
    return tuple(fresh)
