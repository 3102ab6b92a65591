"""A step whose loss was not finite is kept, and running it again says where it went wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import regraft as rg
from regraft.core.errors import BundleError, NonFiniteLossError
from regraft.engine.train_stage import TrainStageRun


def test_a_step_that_is_not_finite_is_kept_and_run_again(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    real = TrainStageRun._step

    def spoil(self: TrainStageRun) -> float:
        """Before the third step a weight of the last convolution is no number any more."""
        if self.standing.step == 2:
            with torch.no_grad():
                self.model.trunk.network._conv_head.weight[0, 0] = float("nan")
        return real(self)

    with monkeypatch.context() as patch:
        patch.setattr(TrainStageRun, "_step", spoil)
        with pytest.raises(NonFiniteLossError, match="step 2"):
            rg.transfer(
                photos,
                out=out,
                source="packaged:efficientnet-lite0",
                size=32,
                strategy="lpft:1",
                changes=["stop.epochs=3", "streams.target.batch=8"],
                settings=rg.Settings("cpu", backend="eager"),
            )
    found = rg.replay(out)
    assert (found.stage, found.step, found.block, found.where) == ("tune", 2, "conv_head", "forward")
    assert found.same_batch
    assert len(found.losses) == 8
    assert set(found.culprits) <= {name for name, _ in found.losses}
    assert found.culprits
    assert "the first block with an output that is not finite is conv_head" in str(found)
    with pytest.raises(BundleError, match="keeps no step for replay"):
        rg.replay(tmp_path)
