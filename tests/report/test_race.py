"""The race between strategies in the report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from regraft.choosing.auto.choice import Choice
from regraft.report import write_report
from regraft.report._folder import read_folder
from regraft.report._race import race_view
from tests.report.closer_looks import choice_json
from tests.report.conftest import run_json
from tests.report.test_page import Reader

Make = Callable[..., Path]


def test_who_raced_what_they_reached_and_what_was_left_out(make: Make) -> None:
    text = Reader(write_report(make("proven")).read_text(encoding="utf-8")).text
    section = text.split("Which strategy")[-1].split("plan.yaml")[0]
    assert "lpft: the best over 3 folds, and in 62% of the resamples." in section
    assert "4 min 05 s spent, 4 min 10 s foretold after the probe, 5 min 00 s allowed" in section
    assert "45 s spent, 40 s foretold" in section  # the final fit
    assert (
        "among 5 by a race between strategies in 3 min 20 s on 3 seeds that a verdict will not use" in section
    )
    assert "stop.epochs=5" in section
    assert "90.0%, 93.0%, 90.0%" in section
    assert "lora: all but 36% of its steps" in section


def test_folds_are_points_and_decisions_are_shapes(make: Make) -> None:
    view = race_view(read_folder(make("proven")))
    assert view is not None
    assert view.plot is not None
    assert [len(row.points) for row in view.plot.rows] == [3, 3, 2, 1]
    assert [row.hollow for row in view.plot.rows] == [False, False, True, True]
    assert [row.tag for row in view.plot.rows] == ["chosen", "as good, 36% of its steps", "behind", "dropped"]
    assert view.rows[-1].text == "\N{EN DASH}"
    assert view.rows[2].by_fold == "87.0%, 89.0%, \N{EN DASH}"


def test_errors_and_a_choice_without_folds_are_shown(make: Make) -> None:
    measure = {"name": "RMSE", "percent": False, "higher_is_better": False}
    rows = [{**row, "by_fold": []} for row in choice_json()["rows"]]
    run = run_json(choice=choice_json(measure=measure, rows=rows, spent_seconds=None))
    view = race_view(read_folder(make("proven", run=run)))
    assert view is not None
    assert view.plot is not None
    assert "lower is better" in view.plot.axis
    assert view.rows[0].by_fold == "3 folds"
    assert ("final fit", "40 s foretold") in view.facts


def test_a_run_without_a_race_has_no_such_section(make: Make) -> None:
    folder = make("proven", run=run_json())
    assert race_view(read_folder(folder)) is None
    assert 'id="race"' not in write_report(folder).read_text(encoding="utf-8")


def test_a_choice_of_an_earlier_version_is_read() -> None:
    old = choice_json()
    for row in old["rows"]:
        del row["by_fold"]
    assert Choice.from_json(old).rows[0].by_fold == ()
    assert Choice.from_json(choice_json()).to_json() == choice_json()
