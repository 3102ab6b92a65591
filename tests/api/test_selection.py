"""What choosing has seen and cost, as a run keeps it."""

from __future__ import annotations

from regraft.api.selection import selection_of
from regraft.choosing.auto.choice import Choice, Row
from regraft.choosing.ranking import Board
from regraft.evidence import Selection
from tests.report.boards import board_json

RACED = ("probe", "lpft", "lpft, rate x 0.1")
CHOICE = Choice(
    winner="lpft",
    sentence="",
    measure={},
    rows=(
        *(Row(name, 0.9, 0.8, 1.0, 0.5, 2, 1.0, 1.0, "as good", "") for name in RACED),
        Row("full", None, None, None, None, 0, 0.0, 1.0, "skipped", "too long"),
    ),
    seeds=(11, 12),
    labels=100,
    budget_seconds=180.0,
    predicted_seconds=90.0,
    race_seconds=120.0,
    final_seconds=20.0,
)


def test_ranking_and_race_are_told_together() -> None:
    board = Board.from_json(board_json(4))
    assert selection_of(board, None) == Selection((), 3, board.spent_seconds, "a ranking of 3 sources")
    assert selection_of(None, CHOICE) == Selection((11, 12), 3, 120.0, "a race between 3 plans")
    both = selection_of(board, CHOICE)
    assert both is not None
    assert (both.seeds, both.candidates) == ((11, 12), 6)
    assert both.seconds == 120.0, "the race's clock began before the ranking"
    assert both.how == "a ranking of 3 sources and a race between 3 plans"
    assert selection_of(None, None) is None
