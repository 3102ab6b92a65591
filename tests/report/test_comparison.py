"""Runs side by side: what differs, what shares an axis, what is paired, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regraft.core.errors import BundleError, UsageError
from regraft.evidence.kept_values import KeptValues, write_values
from regraft.report.comparison import Comparison, compare_runs, write_comparison_page
from regraft.report.comparison._runs import names_of
from tests.report.conftest import EVIL, KINDS, PLAN, run_json
from tests.report.test_page import Reader

Write = Callable[..., Path]
HITS = KeptValues("accuracy", True, True, False, np.array([1.0] * 438 + [0.0] * 86))
MORE = KeptValues("accuracy", True, True, False, np.array([1.0] * 470 + [0.0] * 54))


@pytest.fixture
def run(write: Write, digits: tuple[list[str], np.ndarray]) -> Write:
    """Write a finished run of a kind; keywords replace whole files, ``values`` are kept for its output."""

    def written(
        name: str,
        kind: str = "proven",
        values: KeptValues | None = HITS,
        output: str = "label",
        **changes: Any,
    ) -> Path:
        files = {key: value for key, value in (KINDS[kind](digits) | changes).items() if value is not None}
        folder = write(name, **files)
        if values is not None:
            write_values(folder, {output: values})
        return folder

    return written


def page_of(found: Comparison, tmp_path: Path) -> Reader:
    page = write_comparison_page(found, tmp_path / "comparison.html").read_text(encoding="utf-8")
    reader = Reader(page)
    assert reader.open == []
    assert len(page) < 300_000
    assert not {"script", "iframe", "object", "form"} & {tag for tag, _ in reader.tags}
    return reader


def test_runs_on_one_test_part_are_paired(run: Write, tmp_path: Path) -> None:
    first = run("one")
    second = run("two", values=MORE, run=run_json(seed=3, strategy="probe"))
    found = compare_runs([first, second])
    (group,) = found.groups
    assert group.paired
    gap = group.entries[1].difference
    assert gap is not None
    assert gap.value == pytest.approx(32 / 524)
    assert gap.low > 0
    assert "two is 6.1 points (" in found.sentence
    assert "better than one." in found.sentence
    text = page_of(found, tmp_path).text
    assert "2 runs compared" in text
    assert "Paired differences to one" in text
    assert "regraft prove does" in text


def test_what_differs_is_told_apart_from_what_is_the_same(run: Write, tmp_path: Path) -> None:
    other = PLAN.replace("epochs: 20", "epochs: 3").replace("name: probe, kind", "name: head, kind")
    found = compare_runs(
        [run("one"), run("two", plan=other, run=run_json(seed=3, source={"name": "timm:resnet18"}))]
    )
    different = {one.name: one.values for one in found.aspects if one.differs}
    assert different["source"] == ("packaged:efficientnet-lite0", "timm:resnet18")
    assert different["seed"] == ("0", "3")
    assert "strategy" not in different
    plan = {one.name: one.values for one in found.plan}
    assert plan["stages.tune.stop.epochs"] == ("20", "3")
    assert plan["stages.probe"] == ("solve", "\N{EN DASH}")
    assert plan["stages.head"] == ("\N{EN DASH}", "solve")
    assert not any("groups" in name for name in plan)
    told = found.to_json()
    assert told["different"]["seed"] == {"one": "0", "two": "3"}
    assert told["same"]["strategy"] == "lpft"
    assert told["verdicts"]["one"]["verdict"] == "HELPED"
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert "What is the same" in page_of(found, tmp_path).text


def test_other_data_or_metrics_stand_on_axes_of_their_own(run: Write, tmp_path: Path) -> None:
    folders = [run("cells"), run("digits", "digits", None), run("diabetes", "regression", None)]
    found = compare_runs(folders)
    assert [group.metric for group in found.groups] == ["accuracy", "accuracy", "RMSE"]
    assert not any(group.paired for group in found.groups)
    assert "Not on one axis with others" in found.sentence
    assert "diabetes (RMSE of progression)" in found.sentence
    text = page_of(found, tmp_path).text
    assert "stand on axes of their own: they cannot be compared" in text
    assert "lower is better" in text


def test_several_outputs_are_groups(run: Write, tmp_path: Path) -> None:
    found = compare_runs([run(name, "multilabel", None) for name in ("one", "two")])
    assert [(group.output, group.metric) for group in found.groups] == [
        ("features", "mean average precision"),
        ("legible", "accuracy"),
    ]
    assert all("not paired" in group.why for group in found.groups)
    assert "is no mean over examples" in page_of(found, tmp_path).text


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (None, "two kept no value"),
        (KeptValues("accuracy", True, True, False, np.ones(3)), "for different numbers of test examples"),
    ],
)
def test_it_says_why_figures_are_not_paired(run: Write, values: KeptValues | None, why: str) -> None:
    (group,) = compare_runs([run("one"), run("two", values=values)]).groups
    assert not group.paired
    assert why in group.why
    assert all(entry.difference is None for entry in group.entries)


def test_data_that_differ_outside_of_the_test_part_are_said(run: Write) -> None:
    folder = run("two")
    target = json.loads((folder / "target.json").read_text()) | {"fingerprint": "7f" * 32}
    (folder / "target.json").write_text(json.dumps(target))
    (group,) = compare_runs([run("one"), folder]).groups
    assert group.paired
    assert "The data differ outside of the test examples" in group.why


def test_figures_that_are_undefined_leave_the_others(run: Write, tmp_path: Path) -> None:
    folder = run("two", values=None)
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["outputs"]["label"]["metrics"]["accuracy"] |= {"value": None, "low": None, "high": None}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    found = compare_runs([run("one"), folder])
    assert "one has the highest accuracy of label, 83.6%." in found.sentence
    page_of(found, tmp_path)
    (folder.parent / "one" / "metrics.json").write_text(json.dumps(metrics))
    assert "is not defined for any of the runs" in compare_runs([folder.parent / "one", folder]).sentence


def test_forty_runs_and_hostile_names_fit(run: Write, tmp_path: Path) -> None:
    folders = [run(f"run-{at}", values=None, output="label") for at in range(39)]
    folders.append(run("hostile", "hostile", None))
    reader = page_of(compare_runs(folders), tmp_path)
    assert "40 runs compared" in reader.text
    assert not {"img"} & {tag for tag, _ in reader.tags}
    assert EVIL not in (tmp_path / "comparison.html").read_text()


def test_names_are_the_shortest_ends_that_tell_runs_apart(tmp_path: Path) -> None:
    paths = [tmp_path / "a" / "x" / "run", tmp_path / "b" / "x" / "run", tmp_path / "c" / "other"]
    assert names_of(paths) == ["a/x/run", "b/x/run", "other"]


def test_what_cannot_be_compared_is_refused(run: Write, tmp_path: Path) -> None:
    one = run("one")
    with pytest.raises(UsageError, match=r"two or more.*regraft report runs/a runs/b"):
        compare_runs([one])
    with pytest.raises(UsageError, match="is named twice"):
        compare_runs([one, one.parent / "two" / ".." / "one"])
    with pytest.raises(BundleError, match="holds no run"):
        compare_runs([one, tmp_path])
    stopped = run("stopped", "unfinished", None)
    with pytest.raises(BundleError, match=r"is interrupted and cannot be compared yet.*regraft resume"):
        compare_runs([one, stopped])


def test_the_table_has_a_column_for_each_run(run: Write) -> None:
    table = compare_runs([run("one"), run("two", values=MORE, run=run_json(seed=3))]).table()
    lines = table.splitlines()
    assert lines[0].split("  ")[0] == "label: accuracy"
    assert "better than one by" in lines[0]
    assert any(line.split() == ["seed", "0", "3"] for line in lines)
