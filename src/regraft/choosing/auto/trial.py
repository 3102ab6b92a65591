"""Trial: an entrant's plan carried out in a fold, in memory, and the values of what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from regraft.choosing.auto.judging import Values
from regraft.core.executors import Tick

if TYPE_CHECKING:
    from regraft.choosing.auto.entrants import Entrant
    from regraft.choosing.auto.folds import Fold


@dataclass(frozen=True)
class Trial:
    """What one trial gave.

    Attributes
    ----------
    values
        By output and judged example, higher is better.
    seconds
        All that it took.
    frozen
        Of these, what running frozen layers took, which is kept: no later trial pays it again.
    """

    values: Values
    seconds: float
    frozen: float = 0.0


class Carrier(Protocol):
    """Whatever can carry trials out; folds are made and entrants' models opened by it."""

    def fold(self, number: int) -> Fold:
        """The race's fold of this number."""
        ...

    def run(self, entrant: Entrant, fold: Fold) -> Trial:
        """Carry the entrant's plan out on the fold's draw and judge it by the fold's judged examples."""
        ...


@dataclass(frozen=True, eq=False)
class Heat:
    """An entrant and the fold that it is tried in."""

    entrant: Entrant
    fold: Fold

    @property
    def name(self) -> str:
        """The entrant's."""
        return self.entrant.name


def run_heat(carrier: Carrier, heat: Heat, tick: Tick) -> Trial:
    """The trial of a heat, wherever this is called."""
    return carrier.run(heat.entrant, heat.fold)
