"""Learning curves in the report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from regraft.report import write_report
from regraft.report._folder import read_folder
from regraft.report._learning import LearningView, learning_view
from tests.report.boards import curve_json
from tests.report.conftest import evidence_json
from tests.report.test_page import Reader

Make = Callable[..., Path]


def view_of(make: Make, curve: dict[str, Any], **changes: Any) -> LearningView | None:
    return learning_view(read_folder(make("proven", evidence=evidence_json(curve=curve, **changes))))


def test_arms_over_labels_with_their_intervals(make: Make) -> None:
    view = view_of(make, curve_json())
    assert view is not None
    assert [line.name for line in view.plane.lines] == [
        "lpft",
        "arm 1 without a source",
        "arm 2 without a source",
    ]
    assert all(line.band.startswith("M") and line.band.endswith("Z") for line in view.plane.lines)
    assert [tick.text for tick in view.plane.x_ticks] == ["40", "100", "300", "1,000"]
    # 300 labels are the run's own: the third point of the strategy
    assert view.plane.mark == view.plane.lines[0].dots[2]
    assert "300 labels" in view.plane.caption
    assert [row[5] for row in view.rows] == [False, False, True, False] * 3
    # labels are a logarithmic axis: equal factors are equal distances
    first, second, third = (dot[0] for dot in view.plane.lines[0].dots[:3])
    assert abs((second - first) / (third - second) - 0.9163 / 1.0986) < 0.01


def test_the_equivalence_is_said_and_the_others_are_there(make: Make) -> None:
    folder = make("proven", evidence=evidence_json(curve=curve_json()))
    text = Reader(write_report(folder).read_text(encoding="utf-8")).text
    section = text.split("Learning curves")[-1]
    assert "needs 6.3 times the labels (95% interval 4.1 to 9.8) to match lpft at 40 labels" in section
    assert "needs more than 10 times the labels to match lpft at 100 labels (50 per class)" in section
    assert "seeds of the curve: 4 of 8" in section


def test_a_curve_without_own_point_or_intervals_is_drawn_as_far_as_it_goes(make: Make) -> None:
    curve = curve_json((40, 100))
    for arm in curve["arms"]:
        arm["points"][0] |= {"low": None, "high": None}
    curve["equivalences"] = [{"arm": "of another version"}]
    view = view_of(make, curve, labels=7)
    assert view is not None
    assert view.plane.mark is None
    assert [line.band for line in view.plane.lines] == [""] * 3
    assert view.equivalences == ()


def test_there_is_no_section_without_a_curve(make: Make) -> None:
    assert learning_view(read_folder(make("proven", evidence=evidence_json()))) is None
    assert 'id="learning"' not in write_report(make("sixty")).read_text(encoding="utf-8")


def test_more_arms_than_colours_are_named(make: Make) -> None:
    view = view_of(make, curve_json(arms=8))
    assert view is not None
    assert len(view.plane.lines) == 6
    assert (
        "Not drawn, in the table: arm 6 without a source, arm 7 without a source." in view.plane.caption
        or ("arm 6 without a source and arm 7" in view.plane.caption)
    )
    assert len(view.rows) == 32
