"""What was tried along a grid is drawn with the grid's own name, and weights of terms where they move."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from regraft.report._folder import read_folder
from regraft.report._training import _stage
from regraft.report._weights import TONES, term_names

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


def learned(*weights: tuple[float, ...]) -> list[dict[str, Any]]:
    """Lines of a train stage whose terms weigh so much after each epoch."""
    names = ["supervised", *(f"supervised {i + 1}" for i in range(1, len(weights[0])))]
    steps = [dict(zip(names, each, strict=True)) for each in weights]
    return [{"kind": "train", "step": 10 * i + 10, "loss": 1.0, "weights": w} for i, w in enumerate(steps)]


def test_weights_that_move_are_drawn_under_the_names_of_their_outputs() -> None:
    names = {"supervised": "supervised (cells)", "supervised 2": "supervised (digits)"}
    _, plane = _stage(learned((1.0, 1.0), (1.5, 0.5), (2.0, 0.25)), {}, names)
    assert plane.title == "weights of terms against step"
    assert [line.name for line in plane.lines] == ["supervised (cells)", "supervised (digits)"]
    assert len({line.tone for line in plane.lines}) == 2
    one, other = plane.lines
    assert [dot[0] for dot in one.dots] == [33.33, 66.67, 100.0]
    assert one.dots[0] == other.dots[0]
    assert one.dots[2][1] < one.dots[1][1] < other.dots[1][1] < other.dots[2][1], "up is more"
    assert plane.caption == "at the end: supervised (cells) 2.00, supervised (digits) 0.250"


def test_weights_that_stand_still_are_not_drawn() -> None:
    planes = _stage(learned((1.0, 0.5), (1.0, 0.5)), {})
    assert [plane.title for plane in planes] == ["loss against step"]


def test_very_many_terms_are_told_of() -> None:
    plane = _stage(learned((1.0,) * 9, tuple(i + 0.5 for i in range(9))), {})[-1]
    assert len(plane.lines) == len(TONES) == len({line.tone for line in plane.lines})
    assert plane.caption.endswith("; 3 more terms are not drawn")


def test_terms_are_named_by_the_plan(write: Callable[..., Path]) -> None:
    plan = """
stages:
- {name: head, kind: solve}
- name: tune
  terms:
  - {computes: supervised, streams: [target], outputs: [cells.label]}
  - {computes: supervised, streams: [source]}
  - {computes: entropy, streams: [target]}
- {name: odd, terms: none}
"""
    folder = read_folder(write(plan=plan, run={"format": 1}))
    assert term_names(folder, "tune") == {
        "supervised": "supervised (cells.label)",
        "supervised 2": "supervised (source)",
        "entropy": "entropy (target)",
    }
    for name in ("odd", "head", "none"):
        assert term_names(folder, name) == {}
    assert term_names(read_folder(write("damaged", plan="a: [", run={"format": 1})), "tune") == {}


def test_shares_are_percent_also_where_outputs_are_named() -> None:
    steps = [{"kind": "train", "step": i, "loss": 1.0, "validation": {"a.b accuracy": i / 4}} for i in (1, 2)]
    plane = _stage(steps, {})[-1]
    assert plane.title == "a.b accuracy against step"
    assert all(tick.text.endswith("%") for tick in plane.y_ticks)
