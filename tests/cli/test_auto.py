"""``--strategy auto`` and ``--budget`` on the command line: what cannot be meant is said with what can."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run

WRONG = [
    (["--strategy", "auto", "--plan", "plan.yaml"], "--plan plan.yaml says all that --strategy would"),
    (["--budget", "3m", "--plan", "plan.yaml"], "--plan plan.yaml says all that --budget would"),
    (["--engine", "processes"], "write --strategy auto or --source auto, or leave --engine out"),
    (["--engine", "cluster", "--strategy", "auto"], "there are local, processes, ray"),
    (["--budget", "3m"], "leave --budget out, or write --strategy auto"),
    (["--strategy", "auto", "--budget", "soon"], "'soon' is no time; write 90s, 5m or 2h"),
    (["--strategy", "auto", "--budget", "0s"], "'0s' is no time; write 90s, 5m or 2h"),
]


@pytest.mark.parametrize(("options", "sentence"), WRONG, ids=lambda value: "")
def test_a_wrong_call(regraft: Run, photos: Path, tmp_path: Path, options: list[str], sentence: str) -> None:
    said = regraft("fit", photos, "--out", tmp_path / "run", *options)
    assert said.status == 2
    assert sentence in said.err
    assert not (tmp_path / "run").exists()


def test_a_plan_cannot_be_written_without_a_race(regraft: Run, photos: Path) -> None:
    said = regraft("plan", photos, "--strategy", "auto", "--size", 32)
    assert said.status == 2
    assert "regraft fit DATA --strategy auto --budget 5m --out DIR" in said.err


def test_help_says_what_races_and_what_a_budget_is(regraft: Run) -> None:
    said = " ".join(regraft("fit", "--help").out.replace("│", " ").split())
    assert "probe, lpft, partial, l2sp, lora, full" in said
    assert "Default: 5 minutes, or ten times what a probe is priced at where that is more." in said
