"""What was tried along a grid is drawn with the grid's own name."""

from __future__ import annotations

from typing import Any

import pytest

from regraft.report._training import _stage

AVERAGE = {"kind": "average", "rule": "interpolation", "across": "share", "metric": "loss"}
SOLVES = {"kind": "solve", "solver": "ridge", "metric": "accuracy", "output": "leaf"}


@pytest.mark.parametrize(
    ("entry", "title", "caption"),
    [
        (AVERAGE, "interpolation: loss against share", "chosen: share 0.5, loss 0.2"),
        (SOLVES, "ridge for leaf: accuracy against penalty", "chosen: penalty 0.5, accuracy 20%"),
    ],
)
def test_a_grid_is_drawn_by_its_own_name(entry: dict[str, Any], title: str, caption: str) -> None:
    (plane,) = _stage([{**entry, "grid": [0, 0.5, 1], "scores": [0.9, 0.2, 0.4], "chosen": 0.5}], {})
    assert (plane.title, plane.across) == (title, title.rpartition(" ")[2])
    assert plane.caption.startswith(caption)
    assert plane.mark is not None


def test_what_was_not_tried_is_not_drawn() -> None:
    assert _stage([{**AVERAGE, "chosen": 0.5}], {}) == ()
