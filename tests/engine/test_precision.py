"""Lower precision: near the losses of float32, and refused where the device cannot do it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from regraft.core.errors import UsageError
from regraft.engine import Settings
from regraft.engine.precision import Precision
from regraft.engine.train_stage import TrainStageRun
from tests.engine.conftest import Bench

CHANGES = ("stop.steps=3", "stop.epochs=null", "streams.target.batch=8", "norm_statistics=frozen")


def test_bfloat16_is_near_float32_and_keeps_weights_and_losses_in_float32(bench: Bench) -> None:
    plan = bench.plan("full", *CHANGES)
    losses: dict[str, list[float]] = {}
    for name in ("float32", "bfloat16"):
        work = bench.open(plan)
        work.settings = replace(work.settings, precision=name)
        run = TrainStageRun(plan.stages[0], work, None)  # type: ignore[arg-type]
        run.freeze.set_modes(run.model)
        losses[name] = []
        for _ in range(3):
            losses[name].append(run._step())
            run.standing.step += 1
        assert {p.dtype for p in run.model.parameters()} == {torch.float32}
        assert run.objective(0, 0.0).dtype == torch.float32
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.05)
    assert losses["bfloat16"] != losses["float32"]


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UsageError, match="there is no precision 'float8'; there are: float32, bfloat16"):
        Settings(precision="float8")
    with pytest.raises(UsageError, match="needs a CUDA GPU, and the device is cpu"):
        Settings(device="cpu", precision="float16").apply()


def test_a_step_that_overflowed_is_skipped_and_counted() -> None:
    """The scaler's own arithmetic, on the CPU: PyTorch has it there for tests like this."""
    weight = torch.ones(2, requires_grad=True)
    optimiser = torch.optim.SGD([weight], lr=0.1)
    precision = Precision("float32", torch.device("cpu"))
    precision.scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    precision.backward((weight * 2).sum())
    assert precision.unscale(optimiser)
    assert torch.equal(weight.grad, torch.full((2,), 2.0))  # type: ignore[arg-type]
    assert precision.step(optimiser)
    optimiser.zero_grad()
    before = weight.detach().clone()
    precision.backward((weight * float("inf")).sum())
    assert not precision.unscale(optimiser)
    assert not precision.step(optimiser)
    assert torch.equal(weight.detach(), before)
    assert precision.skipped == 1
    other = Precision("float32", torch.device("cpu"))
    other.scaler = torch.amp.GradScaler("cpu", init_scale=1.0)
    other.restore(precision.facts())
    assert (other.skipped, other.scaler.get_scale()) == (1, 4.0)
