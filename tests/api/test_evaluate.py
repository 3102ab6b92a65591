"""A run's model on other labelled data."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import regraft as rg
from regraft.core.errors import DataError
from regraft.core.files import read_json


def test_other_data_are_scored_whole(
    image_run: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = read_json(image_run / "run.json")
    metrics = rg.evaluate(image_run, photos)
    assert metrics["count"] == metrics["outputs"]["label"]["count"] == 60
    accuracy = metrics["outputs"]["label"]["metrics"]["accuracy"]
    predictions = rg.Predictor.load(image_run).predict(photos)
    right = np.mean([entry["label"] == Path(entry["item"]).parent.name for entry in predictions])
    assert accuracy["value"] == pytest.approx(right)
    assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
    assert read_json(image_run / "run.json") == before, "another data set's labels are not the run's test"
    assert "48 of these 60 examples have the same bytes as those that" in capsys.readouterr().err


def test_data_may_lack_classes_and_hold_a_class_once(image_run: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    shutil.copy(sorted((photos / "two").iterdir())[0], tmp_path / "two")
    metrics = rg.evaluate(image_run, tmp_path)["outputs"]["label"]
    assert metrics["count"] == 1
    assert metrics["classes"] == ["one", "two", "zero"]


def test_a_class_that_the_model_does_not_know_is_an_error(
    image_run: Path, photos: Path, tmp_path: Path
) -> None:
    shutil.copytree(photos / "one", tmp_path / "one")
    shutil.copytree(photos / "two", tmp_path / "seven")
    message = "name classes that the model does not know: seven. It knows one, two, zero"
    with pytest.raises(DataError, match=message):
        rg.evaluate(image_run, tmp_path)


def test_a_target_in_memory_is_scored_too(image_run: Path) -> None:
    from sklearn.datasets import load_digits

    digits = load_digits(n_class=3)
    words = np.array(["zero", "one", "two"])[digits.target[100:130]]
    metrics = rg.evaluate(image_run, rg.Target.from_arrays(digits.images[100:130], {"figure": words}))
    assert metrics["outputs"]["label"]["count"] == 30


def test_a_table_is_read_as_the_runs_was_and_missing_labels_are_left_out(
    text_run: Path, summaries_csv: Path
) -> None:
    outputs = rg.evaluate(text_run, summaries_csv)["outputs"]
    assert {name: figures["task"] for name, figures in outputs.items()} == {
        "python": "binary",
        "words": "multiclass",
        "letters": "multilabel",
        "length": "regression",
    }
    assert (outputs["words"]["missing"], outputs["words"]["count"]) == (0, 40)
    assert (outputs["python"]["missing"], outputs["length"]["missing"]) == (6, 5)


def test_labels_of_some_outputs_are_not_enough(text_run: Path, summaries_csv: Path, photos: Path) -> None:
    with pytest.raises(
        DataError, match=r"no labels for the model's output words, letters, length \(they have"
    ):
        rg.evaluate(text_run, summaries_csv, label="python")
    with pytest.raises(DataError, match="name one column for each output"):
        rg.evaluate(text_run, photos)


def test_figures_for_each_value_of_a_column(text_run: Path, summaries_csv: Path, tmp_path: Path) -> None:
    rows = summaries_csv.read_text().splitlines()
    path = tmp_path / "sites.csv"
    path.write_text(
        "\n".join([f"{rows[0]},site", *(f"{row},{'ab'[n % 2]}" for n, row in enumerate(rows[1:]))])
    )
    outputs = rg.evaluate(text_run, path, slices=["site"])["outputs"]
    for figures in outputs.values():
        assert [one["column"] for one in figures["slices"]] == ["site", "site"]
        assert sum(one["count"] for one in figures["slices"]) == figures["count"]
    words = outputs["words"]
    whole = np.average(
        [one["figure"] for one in words["slices"]], weights=[one["count"] for one in words["slices"]]
    )
    assert whole == pytest.approx(words["metrics"]["accuracy"]["value"])
    with pytest.raises(DataError, match="there is no slices' column 'sites'"):
        rg.evaluate(text_run, path, slices=["sites"])
