"""What choosing a source and a strategy has seen and cost, for those who prove the run."""

from __future__ import annotations

from regraft.choosing.auto.choice import Choice
from regraft.choosing.ranking import Board
from regraft.evidence import Selection


def selection_of(board: Board | None, choice: Choice | None) -> Selection | None:
    """A ranking's and a race's together; None where nothing was chosen among several.

    A ranking takes its examples in the order of seed 0, which is never among a proof's: these come after the
    run's own.
    """
    tried, seeds, seconds, how = 0, tuple[int, ...](), 0.0, list[str]()
    if board is not None:
        sources = sum(row.predicted is not None for row in board.rows)
        tried, seconds = sources, board.spent_seconds
        how.append(f"a ranking of {sources} sources")
    if choice is not None:
        plans = sum(row.folds > 0 for row in choice.rows)
        # The race's clock has run since the call began: the ranking is in it.
        tried, seeds, seconds = tried + plans, choice.seeds, max(choice.race_seconds, seconds)
        how.append(f"a race between {plans} plans")
    return Selection(seeds, tried, seconds, " and ".join(how)) if how else None
