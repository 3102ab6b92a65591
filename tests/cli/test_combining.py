"""docs/combining.md as a user follows it: a plan is printed, edited, run, killed and resumed."""

from __future__ import annotations

import difflib
import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from regraft.core.files import read_json
from regraft.core.hashing import hash_file
from regraft.engine.history import bare
from tests.cli.conftest import Run

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "combining.md").read_text(encoding="utf-8")
EDITED = (DOCS / "combined.yaml").read_text(encoding="utf-8")
MISTAKES = re.findall(r"^- `(.+)` as `(.+)`:\n  `(.+)`$", PAGE, flags=re.MULTILINE)


def shown(language: str) -> str:
    """The page's block in a language, of which there is one."""
    (block,) = re.findall(rf"```{language}\n(.*?)\n```", PAGE, flags=re.DOTALL)
    return str(block)


PLAN, EDIT, LOOK, FIT, RESUME = (shlex.split(line) for line in shown("sh").splitlines())


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the page's commands are typed, with its data."""
    monkeypatch.chdir(tmp_path)
    exec(compile(shown("python"), str(DOCS / "combining.md"), "exec"), {})
    return tmp_path


def test_what_is_printed_and_edited_is_what_the_page_shows(regraft: Run, place: Path) -> None:
    *command, sign, name = PLAN[1:]
    assert (sign, name, EDIT[-1]) == (">", "plan.yaml", "plan.yaml")
    printed = regraft(*command).out
    edit = difflib.unified_diff(
        printed.splitlines(), EDITED.splitlines(), "printed", "edited", lineterm="", n=1
    )
    assert "\n".join(edit) == shown("diff")

    (place / "plan.yaml").write_text(EDITED)
    looked = regraft(*LOOK[1:])
    assert looked.status == 0
    assert looked.out == EDITED
    assert "Stage 'unfreeze' trains blocks.15, conv_head, head" in looked.err
    assert "Stage 'tune' trains head; a part of blocks.{14..15}" in looked.err
    assert "stage 'tune', " in looked.err
    assert sorted(path.name for path in place.iterdir()) == ["high", "low", "plan.yaml"]


def history(folder: Path) -> list[dict[str, object]]:
    path = folder / "history.jsonl"
    whole = path.read_text().rpartition("\n")[0] if path.exists() else ""
    return [json.loads(line) for line in whole.splitlines()]


def wait_for(process: subprocess.Popen[str], there: Callable[[], bool]) -> None:
    end = time.monotonic() + 300
    while not there():
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.005)


def trained(folder: Path, stage: str) -> list[dict[str, object]]:
    return [line for line in history(folder) if (line["stage"], line["kind"]) == (stage, "train")]


def test_a_run_that_was_killed_is_that_of_one_go(regraft: Run, place: Path) -> None:
    (place / "plan.yaml").write_text(EDITED)
    folder = place / FIT[-1]
    process = subprocess.Popen([sys.executable, "-m", *FIT], stderr=subprocess.PIPE, text=True)
    wait_for(process, lambda: bool(trained(folder, "tune")))
    process.kill()
    process.communicate()
    assert read_json(folder / "run.json")["status"] == "running"
    assert regraft(*RESUME[1:]).status == 0

    assert regraft(*FIT[1:-1], "whole").status == 0
    whole = place / "whole"
    assert hash_file(folder / "model.safetensors") == hash_file(whole / "model.safetensors")
    assert read_json(folder / "metrics.json") == read_json(whole / "metrics.json")
    assert [bare(line) for line in history(folder)] == [bare(line) for line in history(whole)]
    check_what_was_combined(whole)


def check_what_was_combined(folder: Path) -> None:
    """Every term took part, and what is for training alone is gone."""
    (early, *_), lines = trained(folder, "unfreeze"), trained(folder, "tune")
    assert set(early["terms"]) == {"supervised", "l2sp", "distillation"}  # type: ignore[call-overload]
    weights = [line["weights"] for line in lines]
    learned = [one["supervised"] for one in weights]  # type: ignore[index]
    assert 1 > learned[0] > learned[-1] > 0
    assert weights[-1]["distillation"] == 0  # type: ignore[index]
    (calibrated,) = (line for line in history(folder) if line["stage"] == "temperature")
    assert calibrated["solver"] == "temperature"
    assert not [
        name for name in load_file(folder / "model.safetensors") if "source" in name or "lora" in name
    ]


def test_a_term_that_there_is_not(regraft: Run, place: Path) -> None:
    (place / "plan.yaml").write_text(EDITED.replace("computes: distillation", "computes: distilation", 1))
    said = regraft(*FIT[1:])
    assert said.status == 1
    assert "regraft: stage 'unfreeze': no term is called 'distilation'; there are: " in said.err
    assert said.err.endswith("; did you mean 'distillation'?\n")


def test_the_page_shows_mistakes() -> None:
    assert len(MISTAKES) >= 6
    assert PAGE.count("` as `") == len(MISTAKES)


@pytest.mark.parametrize(("right", "wrong", "message"), MISTAKES, ids=[wrong for _, wrong, _ in MISTAKES])
def test_a_mistake_is_answered_as_the_page_says(
    regraft: Run, place: Path, right: str, wrong: str, message: str
) -> None:
    assert right in EDITED
    (place / "plan.yaml").write_text(EDITED.replace(right, wrong, 1))
    said = regraft(*FIT[1:])
    assert (said.status, said.out) == (1, "")
    assert said.err.splitlines()[-1].removeprefix("regraft: ").strip() == message
    assert not (place / FIT[-1]).exists()
    assert regraft(*LOOK[1:]).err.splitlines()[-1] == said.err.splitlines()[-1]
