"""A step whose loss was not finite is kept, and running it again says where it went wrong."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
import torch

import regraft as rg
from regraft.core.errors import BundleError, NonFiniteLossError
from regraft.core.files import read_json
from regraft.engine.train_stage import TrainStageRun


def fail(photos: Path, out: Path, *, room: int | None = None) -> None:
    """A run whose third step is not finite; from there on no file may have more than ``room`` bytes."""
    real = TrainStageRun._step
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def spoil(self: TrainStageRun) -> float:
        """Before the third step a weight of the last convolution is no number any more."""
        if self.standing.step == 2:
            with torch.no_grad():
                self.model.trunk.network._conv_head.weight[0, 0] = float("nan")
            if room is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
        return real(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainStageRun, "_step", spoil)
        try:
            rg.transfer(
                photos,
                out=out,
                source="packaged:efficientnet-lite0",
                size=32,
                strategy="lpft:1",
                changes=["stop.epochs=3", "streams.target.batch=8"],
                settings=rg.Settings("cpu", backend="eager"),
            )
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_step_that_is_not_finite_is_kept_and_run_again(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(NonFiniteLossError, match="step 2"):
        fail(photos, out)
    found = rg.replay(out)
    assert (found.stage, found.step, found.block, found.where) == ("tune", 2, "conv_head", "forward")
    assert found.same_batch
    assert len(found.losses) == 8
    assert set(found.culprits) <= {name for name, _ in found.losses}
    assert found.culprits
    assert "the first block with an output that is not finite is conv_head" in str(found)
    with pytest.raises(BundleError, match="keeps no step for replay"):
        rg.replay(tmp_path)


def test_a_full_disk_does_not_hide_that_a_step_was_not_finite(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    with pytest.raises(NonFiniteLossError, match="step 2"):
        fail(photos, out, room=300_000)
    told = f"of that step could not be kept in {out / 'replay'}: the disk is full."
    said = capsys.readouterr().err
    assert told in said
    assert "look at them with" not in said
    assert "step 2" in read_json(out / "run.json")["outcome"]
    assert not (out / "replay").exists()
