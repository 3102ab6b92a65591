"""TensorBoard and MLflow get what the history has, once, and never stop a run."""

from __future__ import annotations

import importlib.util
import json
import re
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import regraft as rg
from regraft.core.errors import MissingPackageError, UsageError
from regraft.core.hashing import hash_tensors
from regraft.engine import Run, execute
from regraft.engine.history import bare
from regraft.engine.loggers import check_loggers, logging_to
from regraft.engine.train_stage import TrainStageRun
from tests.engine.conftest import Bench

BOTH = ("tensorboard", "mlflow")
CHANGES = ("stop.epochs=4", "streams.target.batch=16", "streams.target.views=0")


@pytest.fixture(autouse=True)
def local_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)


def event_scalars(folder: Path) -> Counter[tuple[str, int, float]]:
    """Every scalar in the event files, as often as it is there; values in float32."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
        from tensorboard.util import tensor_util
    found: Counter[tuple[str, int, float]] = Counter()
    for path in folder.glob("tensorboard/events.*"):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "scalars":
                    number = float(tensor_util.make_ndarray(value.tensor))
                    found[value.tag, event.step, number] += 1
    return found


def stored(folder: Path, run_id: str) -> tuple[Any, Any]:
    """The client of the store beside a run, and the run in it."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=(folder.parent / "mlruns").as_uri())
    return client, client.get_run(run_id)


def fit(bench: Bench, folder: Path, *, stop: int | None = None, loggers: tuple[str, ...] = BOTH) -> Any:
    """Fit with loggers; in a folder that has a run, go on with it. ``stop`` ends it before that step."""
    plan = bench.plan("lpft:1", *CHANGES)
    run = Run.load(folder) if (folder / "run.json").exists() else Run.begin(folder, {"strategy": "lpft:1"})
    work = bench.open(plan, folder=folder)
    real = TrainStageRun._step

    def step(self: TrainStageRun) -> float:
        if self.standing.step == stop:
            raise RuntimeError("killed here")
        return real(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainStageRun, "_step", step)
        with logging_to(run, loggers, work.history):
            execute(work)
    return work


def test_both_have_the_history_once_after_a_run_that_was_killed(bench: Bench, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(RuntimeError, match="killed here"):
        fit(bench, folder, stop=9)  # the last checkpoint is older: epochs are logged, then forgotten
    run_id = Run.load(folder).facts["mlflow"]["run"]
    assert stored(folder, run_id)[1].info.status == "KILLED"
    assert ("tune/loss", 4) in {key[:2] for key in event_scalars(folder)}
    work = fit(bench, folder)
    lines = [line for line in work.history.lines if line["kind"] == "train"]
    assert len(lines) == 4
    events = event_scalars(folder)
    client, kept = stored(folder, run_id)
    assert Run.load(folder).facts["mlflow"]["run"] == kept.info.run_id
    assert kept.info.status == "FINISHED"
    assert kept.data.params["strategy"] == "lpft:1"
    names = ("loss", "terms/supervised", "validation/loss", "validation/accuracy", "examples_per_second")
    rates = [f"rates/{group}" for group in lines[0]["rates"]]
    assert len(rates) == 2
    for name in (*names, *rates, "memory"):
        tag = f"tune/{name}"
        keys = name.split("/", 1)
        wanted = [line[keys[0]][keys[1]] if len(keys) == 2 else line[name] for line in lines]
        steps = [line["step"] for line in lines]
        own = {(step, value) for (found, step, value), count in events.items() if found == tag}
        assert len(own) == sum(count for (found, *_), count in events.items() if found == tag), tag
        assert sorted(own) == [(s, pytest.approx(v, rel=1e-6)) for s, v in zip(steps, wanted, strict=True)]
        history = client.get_metric_history(run_id, re.sub(r"[^\w\-./ ]", "_", tag))
        assert sorted(one.step for one in history) == steps
        if name not in ("examples_per_second", "memory"):
            assert [one.value for one in sorted(history, key=lambda one: one.step)] == wanted


def test_lines_say_rates_terms_speed_and_memory(bench: Bench) -> None:
    work = bench.open(bench.plan("full", *CHANGES))
    execute(work)
    for line in (line for line in work.history.lines if line["kind"] == "train"):
        assert line["terms"] == {"supervised": pytest.approx(line["loss"], rel=1e-5)}
        stage = work.plan.stages[-1]
        assert list(line["rates"]) == [", ".join(group.match) for group in stage.groups]  # type: ignore[union-attr]
        first, second = line["rates"].values()
        assert first != second
        assert line["rate"] == first
        assert line["memory"] > 50e6
        assert line["examples_per_second"] > 0
        assert not {"memory", "examples_per_second", "seconds"} & set(bare(line))
        assert bare(line)["terms"] == line["terms"]


def test_a_logger_that_fails_is_said_once_and_training_goes_on(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # A server that is not there, and a file where the folder of events should be.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "tensorboard").write_text("in the way")
    logged = fit(bench, folder)
    said = capsys.readouterr().err
    assert said.count("mlflow could not log") == 1
    assert said.count("tensorboard could not log") == 1
    assert "127.0.0.1" in said
    plain = fit(bench, tmp_path / "plain", loggers=())
    models = [work.models["student"].state_dict() for work in (logged, plain)]
    assert hash_tensors(models[0]) == hash_tensors(models[1])
    written = (folder / "history.jsonl").read_text().splitlines()
    assert [bare(json.loads(line)) for line in written] == [bare(line) for line in plain.history.lines]


def test_what_is_wrong_is_said_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no such logger; there are: tensorboard, mlflow"):
        rg.Settings(loggers=("wandb",))
    assert rg.Settings(loggers=["mlflow", "mlflow"]).loggers == ("mlflow",)  # type: ignore[arg-type]
    check_loggers(BOTH)
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "mlflow" else real(name)
    )
    with pytest.raises(MissingPackageError, match=r"pip install 'regraft\[mlflow\]'"):
        check_loggers(BOTH)
