"""Calibration, classes, slices, the shape of the data and near-duplicates in the report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from regraft.report import write_report
from regraft.report._calibration import calibration_views
from regraft.report._classes import classes_view
from regraft.report._folder import RunFolder, read_folder
from regraft.report._shape import findings_of, near_view
from regraft.report._slices import slices_views
from tests.report.closer_looks import calibration_json, slices_json
from tests.report.conftest import output_json
from tests.report.test_page import Reader

Make = Callable[..., Path]


def folder_with(**output: Any) -> RunFolder:
    """A run of whose files only the figures are there."""
    found = output_json("binary", ["sound", "defective"], [[330, 29], [57, 108]], **output)
    metrics = {"part": "test", "count": 524, "outputs": {"label": found}}
    return RunFolder(Path(), {}, {}, {}, metrics, {}, {}, (), "", ())


def test_calibration_stands_before_and_after_the_temperature() -> None:
    told = calibration_json(applied=False)
    (view,) = calibration_views(folder_with(calibration=told))
    assert view.heads == ("the model", "with temperature")
    assert "A temperature of 1.80, fitted on 60 validation examples, would divide the logits" in view.sentence
    assert "lies beyond that" in view.sentence
    assert view.plane is not None
    own, other = view.plane.lines
    assert (own.name, len(own.dots)) == ("the model", len(told["model"]["reliability"]))
    assert len(own.whiskers) == len(own.dots)
    assert other.whiskers == ()
    # an overconfident model lies below the diagonal, and nearer to it with the temperature
    distance = [sum(100 - y - x for x, y in line.dots) / len(line.dots) for line in (own, other)]
    assert distance[0] < distance[1] < 8
    rows = dict(view.rows)
    error = told["model"]["ece_equal_mass"]
    assert rows["uncorrected"][0] == f"{100 * error['value']:.1f}%"
    assert rows["predictions"] == ("300", "300")


def test_calibration_without_a_temperature_or_applied() -> None:
    (view,) = calibration_views(folder_with(calibration=calibration_json(applied=None)))
    assert view.heads == ("the model",)
    (view,) = calibration_views(folder_with(calibration=calibration_json(applied=True)))
    assert view.heads == ("without temperature", "the model")
    assert "divides the model's logits" in view.sentence
    assert calibration_views(folder_with(calibration=None)) == ()


def test_the_worst_class_comes_first_and_many_are_folded() -> None:
    rng = np.random.default_rng(0)
    per_class = {
        f"class {at}": {"precision": 0.5, "recall": None, "f1": float(f1), "count": 9}
        for at, f1 in enumerate(rng.random(40))
    }
    per_class["never seen"] = {"precision": None, "recall": None, "f1": None, "count": 0}
    view = classes_view(per_class)
    assert view is not None
    assert view.rest is not None
    assert (len(view.plot.rows), len(view.rest.rows)) == (12, 28)
    places = [row.at for row in (*view.plot.rows, *view.rest.rows)]
    assert places == sorted(places)
    assert view.rows[-1][0] == "never seen"
    assert len(view.rows) == 41
    assert classes_view({"a": {"f1": None}}) is None
    assert classes_view({}) is None


def test_classes_have_their_intervals(make: Make) -> None:
    text = Reader(write_report(make("proven")).read_text(encoding="utf-8")).text
    section = text.split("Class by class")[1]
    assert "(62.0 to 96.0)" in section
    assert "(60.0 to 95.0)" in section


def test_slices_that_are_worse_are_marked() -> None:
    views = slices_views(folder_with(slices=slices_json()))
    assert [view.column for view in views] == ["camera", "year"]
    camera = views[0]
    assert camera.plot is not None
    assert [row.label for row in camera.plot.rows if row.hollow] == ["old"]
    assert [row.value for row in camera.rows if row.worse] == ["old"]
    assert camera.plot.zero is not None
    assert len(views[1].rows) == 4  # years in quarters
    assert slices_views(folder_with()) == ()


def test_near_duplicates_that_harm_come_first(make: Make) -> None:
    view = near_view(read_folder(make("proven")))
    assert view is not None
    assert view.count == 3
    assert view.sentences[0] == "3 pairs of examples have nearly the same content."
    assert view.sentences[1].startswith("1 pair of them stands on both sides of the test part")
    assert view.sentences[2].startswith("1 pair outside the test part has different labels")
    assert [pair[5] for pair in view.pairs] == ["sealed", "different", "same"]
    assert view.pairs[1][0].startswith("…")
    assert view.without == (
        ("accuracy of label, without 12 examples", "83.6% (80.5 to 86.7)", "82.0% (79.0 to 85.0)"),
    )
    assert near_view(read_folder(make("sixty", near_duplicates=None))) is None


def test_findings_are_told_with_what_would_change_them(make: Make) -> None:
    folder = make("proven")
    (finding,) = findings_of(read_folder(folder))
    assert finding.kind == "few labels"
    text = Reader(write_report(folder).read_text(encoding="utf-8")).text
    assert "10 for each of 2 classes (reference: 20). 10 more labels would change it." in text
    assert 'id="shape"' not in write_report(make("texts")).read_text(encoding="utf-8")
