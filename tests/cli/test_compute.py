"""Options about how a run is computed, not what: they reach the run, and a resumed run says what differs."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.cli.conftest import Run

COMMON = ("--size", "32", "--backend", "eager", "--device", "cpu", "--strategy", "lpft:1")
FILES = {"tensorboard": "run/tensorboard/events.*", "mlflow": "mlruns/*/*/metrics/tune/loss"}


@pytest.mark.parametrize("logger", FILES)
def test_what_follows_a_run_leaves_its_files(
    regraft: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logger: str
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    more = ("--set", "stop.epochs=1", "--log", logger)
    said = regraft("fit", photos, "--out", tmp_path / "run", *COMMON, *more)
    if importlib.util.find_spec(logger) is None:
        assert said.status == 2
        assert f"Run: pip install 'regraft[{logger}]'" in said.err
        return
    assert said.status == 0, said.err
    assert "could not log" not in said.err
    (found,) = tmp_path.glob(FILES[logger])
    assert found.stat().st_size > 0


def test_a_logger_that_is_not_there_is_named(regraft: Run, photos: Path, tmp_path: Path) -> None:
    said = regraft("fit", photos, "--out", tmp_path / "run", *COMMON, "--log", "wandb")
    assert said.status == 2
    assert "--log wandb: there is no such logger; there are: tensorboard, mlflow" in said.err
    assert not (tmp_path / "run").exists()


def test_a_run_goes_on_compiled_or_not_as_asked(regraft: Run, photos: Path, tmp_path: Path) -> None:
    out, wrong = tmp_path / "run", ("--set", "stages.tune.groups.0.match=[blocks.99]")
    assert regraft("fit", photos, "--out", out, *COMMON, *wrong).status == 1
    assert "compile auto then" not in regraft("resume", out).err
    assert "compile auto then, never now" in regraft("resume", out, "--compile", "never").err
    said = regraft("resume", out, "--compile", "yes")
    assert said.status == 2
    assert "--compile yes: there are auto, never, always" in said.err
