"""Where training leads nowhere the run is a probe; and which validation loss chooses weights."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from regraft.engine import execute
from regraft.engine.train_stage import TrainStageRun
from regraft.engine.validation import Validation, losses
from tests.engine.conftest import Bench, last_line
from tests.engine.test_resume import assert_resumes

WORSE = ("stop.epochs=1", "groups.0.rate=3", "groups.1.rate=0.3", "optimiser.clip=null")


def test_a_stage_that_keeps_its_start_leaves_a_probe(bench: Bench) -> None:
    tuned = bench.open(bench.plan("lpft:1", *WORSE, whole=True))
    execute(tuned)
    assert last_line(tuned.history.lines)["validation"]["calibrated loss"] > 0.5
    assert tuned.history.lines[-1]["stage"] == "head again"
    probe = bench.open(bench.plan("probe"))
    execute(probe)
    examples = tuned.target.test
    np.testing.assert_allclose(
        tuned.logits(examples)["label"], probe.logits(examples)["label"], rtol=1e-4, atol=1e-4
    )


def test_what_was_trained_keeps_its_head(bench: Bench) -> None:
    work = bench.open(bench.plan("lpft:1", "stop.epochs=1", "stop.keep=last", whole=True))
    execute(work)
    assert [line["stage"] for line in work.history.lines] == ["head", "tune", "temperature"]
    assert work.moved == {"student"}


def test_whether_it_was_trained_is_known_to_a_run_that_goes_on(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = bench.plan("lpft:1", "stop.epochs=2", "stop.keep=last", whole=True)
    assert_resumes(partial(bench.open, plan), tmp_path, after=3, monkeypatch=monkeypatch)


@pytest.mark.parametrize(("measure", "kept"), [("loss", 0), ("calibrated loss", 1)])
def test_the_measure_decides_which_weights_are_kept(bench: Bench, measure: str, kept: int) -> None:
    plan = bench.plan("lpft:1", f"stop.measure={measure}")
    run = TrainStageRun(plan.stages[-1], bench.open(plan), None)  # type: ignore[arg-type]
    for step, (loss, calibrated) in enumerate([(0.4, 0.4), (0.9, 0.2)]):
        run.standing.step = step
        run._judge(Validation(loss, calibrated, {"accuracy": 0.5}))
    assert run.standing.best_step == kept
    assert run.moved == bool(kept)


def test_the_calibrated_loss_does_not_mind_how_sure_a_model_is(bench: Bench) -> None:
    (task,) = bench.open(bench.plan("probe")).tasks.values()
    labels = np.arange(60) % 3
    logits = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32) + 2 * np.eye(3)[labels]
    plain, calibrated = losses(task, logits, labels)
    surer, same = losses(task, 30 * logits, labels)
    assert surer > 2 * plain
    assert same == pytest.approx(calibrated, rel=1e-4)
    expected = min(
        float(task.loss(torch.from_numpy(logits * factor), torch.from_numpy(labels)).mean())
        for factor in np.geomspace(0.1, 10, 400)
    )
    # The temperature is sought against a truth with a doubt in it.
    assert calibrated == pytest.approx(expected, rel=0.02)
