"""The strategy auto: a real race on real weights, what it writes down, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

import regraft as rg
from regraft.choosing.auto import Choice
from regraft.core.errors import BudgetError, PlanError, UsageError
from regraft.plans import read_plan
from regraft.targets import Target

SETTINGS = rg.Settings("cpu", backend="eager")
SOURCE = {"source": "packaged:efficientnet-lite0", "size": 32}
SHORT = ["stop.epochs=1"]


@pytest.fixture(scope="module")
def digits() -> Target:
    found = load_digits(n_class=3)
    return Target.from_arrays((found.images[:90] * 15.9).astype(np.uint8), found.target[:90].astype(str))


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two strategies and one fold: what others cost is the business of other tests."""
    monkeypatch.setattr("regraft.api.auto.names_in_order", lambda per_class, joint: ("probe", "lpft"))
    monkeypatch.setattr("regraft.choosing.auto.race.MOST_FOLDS", 1)


def test_a_race_chooses_and_the_run_says_why(
    two: None, digits: Target, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    run = rg.transfer(
        digits, out=out, strategy="auto", budget="20m", changes=SHORT, settings=SETTINGS, seed=3, **SOURCE
    )
    choice = Choice.from_json(run.facts["choice"])
    plan = read_plan(out / "plan.yaml")
    assert plan.strategy == choice.winner == run.facts["strategy"]
    assert plan.seed == 3
    assert {"probe", "lpft"} <= {row.name for row in choice.rows}
    assert all(0 <= (row.low or 0) <= (row.figure or 0) <= (row.high or 0) <= 1 for row in choice.rows)
    assert choice.labels == len(digits.pool)
    assert run.facts["test_label_reads"] == 1, "the race reads none"
    assert choice.spent_seconds is not None
    assert choice.race_seconds < choice.spent_seconds < (choice.budget_seconds or 0) == 1200
    said = capsys.readouterr().err
    assert "--set stop.epochs=1 applies to lpft." in said
    assert f"Strategy: {choice.sentence}" in said
    # The plan is that of the winner by itself, and goes without the race.
    link = rg.link(SOURCE["source"], digits, size=32)
    alone = [*SHORT, *choice.settings] if choice.winner == "lpft" else []
    assert plan == rg.plan(link, choice.winner, seed=3, settings=alone)
    assert run.facts["selection"]["seeds"] == list(choice.seeds)
    assert run.facts["selection"]["seconds"] == choice.race_seconds


def test_outputs_of_several_kinds_are_judged_together(two: None, tmp_path: Path) -> None:
    found = load_digits(n_class=3)
    images = (found.images[:80] * 15.9).astype(np.uint8)
    dark = (found.images[:80] > 8).sum((1, 2)).astype(np.float32)
    kinds = np.stack([found.target[:80] == 0, dark > np.median(dark)], axis=1).astype(int)
    labels = {"dark": dark, "kinds": kinds}
    target = Target.from_arrays(images, labels, tasks={"dark": "regression", "kinds": "multilabel"})
    link = rg.link(SOURCE["source"], target, size=32)
    plan = rg.plan(link, "auto", target=target, budget="20m", settings=SHORT, seed=1)
    assert plan.strategy in ("probe", "lpft")


def test_with_twelve_examples_a_probe_is_taken_without_a_race(
    digits: Target, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = digits.select(np.sort(np.concatenate([digits.pool[:12], digits.test[:4]])))
    run = rg.transfer(few, out=tmp_path / "run", strategy="auto", settings=SETTINGS, **SOURCE)
    assert run.facts["strategy"] == "probe"
    assert run.facts["choice"]["seeds"] == [run.facts["choice"]["seeds"][0]]
    said = capsys.readouterr().err
    assert "No --budget was given: 5 min 00 s for all of it." in said
    assert "cannot tell strategies apart" in said


def test_what_is_wrong_with_a_call_is_said(
    digits: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = {"out": tmp_path / "run", "settings": SETTINGS, **SOURCE}
    with pytest.raises(
        BudgetError, match=r"a probe does not fit in the budget .* Give --budget \d+s or more"
    ):
        rg.transfer(digits, strategy="auto", budget=0.01, **call)
    with pytest.raises(UsageError, match="leave --budget out, or write --strategy auto"):
        rg.transfer(digits, strategy="lpft", budget="5m", **call)
    with pytest.raises(UsageError, match="leave --search out, or write --strategy auto"):
        rg.transfer(digits, strategy="lpft", search=3, **call)
    with pytest.raises(PlanError, match="--set nonsense: the plan has no such key"):
        rg.transfer(digits, strategy="auto", changes=["nonsense=1"], **call)
    with pytest.raises(UsageError, match="the stream rest; --strategy auto reads one stream"):
        rg.transfer(digits, strategy="auto", streams={"rest": digits}, **call)
    link = rg.link(SOURCE["source"], digits, size=32)
    with pytest.raises(UsageError, match="auto is a race, which trains several strategies on the data"):
        rg.plan(link, "auto")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="--strategy auto races in one process and 2 were started"):
        rg.plan(link, "auto", target=digits)
    assert not (tmp_path / "run").exists()
