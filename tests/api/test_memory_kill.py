"""A run that the kernel killed for its memory goes on in smaller slices; one just killed does not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

import regraft as rg
from regraft.core.files import read_json, write_json
from regraft.core.memory import ControlGroup
from regraft.engine.heartbeat import FILE, killed_for_memory

FIT = """
import sys
import torch
import regraft as rg
from regraft.engine.train_stage import TrainStageRun

real = TrainStageRun._step
taken = []
def step(self):
    taken.append(self.standing.step)
    if len(taken) == 4:
        {death}
    return real(self)
TrainStageRun._step = step
rg.transfer(
    sys.argv[1], out=sys.argv[2], source="packaged:efficientnet-lite0", size=32, strategy="lpft:1",
    changes=["stop.epochs=3", "stop.keep=last", "streams.target.batch=8"],
    settings=rg.Settings("cpu", backend="eager", checkpoint_seconds=0.0),
)
"""
# As much as there is, touched page by page: only the kernel can end this.
GREEDY = "hold = [b'x' * 50_000_000 for _ in range(10_000)]"
SHOT = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"


@pytest.fixture
def small_group() -> Iterator[Path]:
    """A control group of its own with 800 MB; skips where none may be made."""
    mine = ControlGroup.find()
    if mine is None or sys.platform != "linux":
        pytest.skip("no memory control groups here")
    folder = mine.folders[0] / f"regraft-{uuid.uuid4().hex[:8]}"
    try:
        folder.mkdir()
        (folder / ("memory.limit_in_bytes", "memory.max")[mine.version - 1]).write_text("800000000")
    except OSError as error:
        if folder.is_dir():
            folder.rmdir()
        pytest.skip(f"control groups may not be made here: {error}")
    yield folder
    folder.rmdir()


def fit(photos: Path, out: Path, death: str, group: Path | None = None) -> int:
    code = FIT.replace("{death}", death)
    if group is not None:
        code = f"open({str(group / 'cgroup.procs')!r}, 'w').write('0')\n" + code
    done = subprocess.run([sys.executable, "-c", code, str(photos), str(out)], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return done.returncode


def told(out: Path) -> list[str]:
    return [note for note in read_json(out / "run.json")["notes"] if "lack of memory" in note]


def test_a_run_that_the_kernel_really_killed_goes_on_in_smaller_slices(
    photos: Path, tmp_path: Path, small_group: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    fit(photos, out, GREEDY, small_group)
    beat = read_json(out / FILE)
    assert beat["limit"] == pytest.approx(800e6, abs=1e5)
    run = rg.resume(out)
    assert run.status == "done"
    (note,) = told(out)
    assert "the kernel ended a process of its control group" in note
    assert "4 examples at a time instead of 8" in note
    assert note in capsys.readouterr().err


def test_a_run_that_somebody_killed_goes_on_as_it_was(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    fit(photos, out, SHOT)
    beat = read_json(out / FILE)
    assert (beat["stage"], beat["slices"]) == ("tune", 1)
    assert beat["process"] != os.getpid()
    assert killed_for_memory(out) is None
    # The same end, but with the memory nearly full at the last beat: written here as the run would have.
    write_json(out / FILE, {**beat, "peak": round(0.95 * beat["limit"])})
    found = killed_for_memory(out)
    assert found is not None
    assert "that it may have" in found.evidence
    write_json(out / FILE, beat)
    assert rg.resume(out).status == "done"
    assert told(out) == []
    assert not (out / FILE).exists()
