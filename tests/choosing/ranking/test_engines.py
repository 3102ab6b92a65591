"""Candidates looked at by workers: the board of one process, to the bit, whatever happens to a worker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import regraft as rg
from regraft.choosing.ranking import Row
from regraft.core.optional import is_installed
from regraft.sources import Source
from regraft.targets import Target
from tests.choosing.ranking.killing import Killing

Make = Callable[..., Source]
SETTINGS = rg.Settings("cpu", threads=1, backend="eager", compile="never")
RAY = pytest.mark.skipif(not is_installed("ray"), reason="needs ray")


def found(board: rg.Board) -> list[Row]:
    """What a board says but for what the clock decides: which of those that are as good is the cheapest."""
    rows = sorted(board.rows, key=lambda row: row.name)
    return [replace(row, seconds=None, memory=None, decision="best", reason="") for row in rows]


def ray_folders() -> set[Path]:
    return set(Path("/tmp").glob("regraft-ray-*"))


@pytest.mark.parametrize("engine", ["processes:2", pytest.param("ray:2", marks=RAY)])
def test_workers_make_the_board_of_one_process(
    engine: str,
    digits: Target,
    source: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mark, before = tmp_path / "killed", ray_folders()
    sources = [source("good"), source("killing", lambda *shape: Killing(mark, *shape))]
    local = rg.rank(digits, sources, budget=None, settings=SETTINGS)
    monkeypatch.setenv("REGRAFT_CACHE", str(tmp_path / "cache"))  # what was kept is not found
    capsys.readouterr()
    board = rg.rank(digits, sources, budget=None, engine=engine, settings=SETTINGS)
    assert found(board) == found(local)
    assert all(row.seconds and row.stage == "race" for row in board.rows)
    assert mark.exists(), "a worker was killed"
    printed = capsys.readouterr()
    assert printed.out == ""
    said = [line for line in printed.err.splitlines() if "was lost" in line or "died" in line]
    ended = "SIGKILL(-9)" if engine.startswith("processes") else "WorkerCrashedError"
    assert said == [f"The worker that had killing was lost ({ended}); killing is begun again."]
    assert ray_folders() <= before, "the folder of the session is removed"


def test_without_ray_the_line_that_installs_it_is_said(
    digits: Target, source: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("regraft.core.optional.importlib.util.find_spec", lambda name: None)
    with pytest.raises(rg.MissingPackageError, match=r"--engine ray needs .* pip install 'regraft\[ray\]'"):
        rg.rank(digits, [source("good")], engine="ray", settings=SETTINGS)
