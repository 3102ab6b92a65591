"""From data to a finished run, from a run to the next one, and what no one may read on the way."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

import regraft as rg
from regraft.core.errors import PlanError, SealedError, UsageError
from regraft.core.files import read_json
from regraft.targets.near_texts import similar_texts

FILES = {
    "README.md",
    "history.jsonl",
    "link.json",
    "metrics.json",
    "model.json",
    "model.safetensors",
    "plan.yaml",
    "report.html",
    "run.json",
    "target.json",
    "test_values.safetensors",
    "unreadable.csv",
}


def test_a_run_holds_what_it_promises(image_run: Path, text_run: Path, summaries_csv: Path) -> None:
    assert {path.name for path in image_run.iterdir()} == FILES
    with open(summaries_csv, newline="", encoding="utf-8") as stream:
        pairs, _ = similar_texts(row["body"] for row in csv.DictReader(stream))
    twins = {"near_duplicates.csv"} if len(pairs) else set()
    assert {path.name for path in text_run.iterdir()} == FILES | {"tokenizer"} | twins
    facts = read_json(image_run / "run.json")
    assert (facts["status"], facts["strategy"], facts["test_label_reads"]) == ("done", "probe", 1)
    assert set(facts["hashes"]) == {"plan", "data", "weights"}
    assert facts["outcome"].startswith("Test part, 12 examples: label: accuracy ")
    suffixes = {path.suffix for path in [*image_run.rglob("*"), *text_run.rglob("*")] if path.is_file()}
    assert suffixes <= {".json", ".jsonl", ".md", ".safetensors", ".yaml", ".html", ".csv"}, "no pickle"


def test_several_outputs_leave_their_missing_labels_out(text_run: Path) -> None:
    parts = read_json(text_run / "target.json")["parts"]
    outputs = rg.Run.load(text_run).metrics["outputs"]
    assert list(outputs) == ["python", "words", "letters", "length"]
    assert all(figures["count"] + figures["missing"] == parts["test"] for figures in outputs.values())
    assert outputs["length"]["residuals"] is not None
    assert outputs["words"]["confusion"] is not None
    shown = rg.Run.load(text_run).facts["outcome"]
    assert all(f"{name}: " in shown for name in outputs)


def test_test_labels_are_sealed(photos: Path) -> None:
    target = rg.Target.from_images(photos)
    with pytest.raises(
        SealedError, match=r"labels of 1 test examples were asked for\. Test labels are sealed"
    ):
        target.labels([*target.pool[:3], target.test[0]])
    assert len(target.labels(target.pool)["label"]) == len(target.pool)
    draw = target.draw(0)
    assert not set(target.test) & {*draw.train, *draw.validation}


def test_a_finished_run_is_a_source_whose_head_carries_over_by_class_name(image_run: Path) -> None:
    from sklearn.datasets import load_digits

    digits = load_digits(n_class=5)
    words = np.array(["zero", "one", "two", "three", "four"])
    keep = digits.target[:120] != 1
    target = rg.Target.from_arrays(digits.images[:120][keep], words[digits.target[:120][keep]])
    link = rg.link(f"bundle:{image_run}", target).require(1.0)
    weight = link.load().heads["output_label"].weight
    parent = rg.Predictor.load(image_run)
    theirs, ours = parent.tasks[0].spec.classes, link.blueprint.tasks[0].spec.classes
    for name in ("two", "zero"):
        parents = parent.model.heads["output_label"].weight[theirs.index(name)]
        assert torch.equal(weight[ours.index(name)], parents)
    assert not any(
        torch.equal(weight[ours.index("four")], row) for row in parent.model.heads["output_label"].weight
    )
    head = [row for row in link.rows if row.target == "heads.output_label.weight"]
    assert [row.action for row in head] == ["adapted"]


def test_a_run_on_a_run_is_a_run(image_run: Path, photos: Path, tmp_path: Path) -> None:
    plain = rg.Settings("cpu", backend="eager")
    run = rg.transfer(photos, out=tmp_path / "next", source=f"bundle:{image_run}", settings=plain)
    assert run.status == "done"
    assert run.predict(photos / "one")[0]["outputs"]["label"]["task"] == "multiclass"


def test_a_plan_may_not_say_which_code_to_run(photos: Path, image_run: Path, tmp_path: Path) -> None:
    text = (image_run / "plan.yaml").read_text().replace("size: 32", "size: 32\n      builder: os:system")
    (tmp_path / "plan.yaml").write_text(text)
    with pytest.raises(PlanError, match="names a builder; hand it over with --builder instead"):
        rg.fit(tmp_path / "plan.yaml", photos, out=tmp_path / "run")


def test_a_source_of_another_modality_is_refused_before_a_run_begins(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the source reads texts and the target holds images"):
        rg.transfer(photos, out=tmp_path / "run", source="packaged:minilm")
    assert not (tmp_path / "run").exists()
