"""Runs that were interrupted or killed go on to the same bits; what changed in between is named."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import regraft as rg
from regraft.core.errors import DataError, PlanError, ResumeError, UsageError
from regraft.core.files import read_json
from regraft.core.hashing import hash_file

FIT = """
import sys
import regraft as rg
settings = rg.Settings("cpu", backend="eager", checkpoint_seconds=0.0)
changes = ["stop.epochs=6", "stop.keep=last", "streams.target.batch=8"]
try:
    rg.transfer(
        sys.argv[1], out=sys.argv[2], source="packaged:efficientnet-lite0", size=32,
        strategy="lpft:1", changes=changes, settings=settings,
    )
except KeyboardInterrupt:
    sys.exit(130)
"""


def start(photos: Path, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", FIT, str(photos), str(out)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def whole(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing disturbed."""
    out = tmp_path_factory.mktemp("whole") / "run"
    process = start(photos, out)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return out


def wait_for(process: subprocess.Popen[str], there: Callable[[], bool]) -> None:
    end = time.monotonic() + 300
    while not there():
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.005)


def bare_history(folder: Path) -> str:
    return re.sub(r'"seconds": ?[0-9.e-]+', "", (folder / "history.jsonl").read_text())


def checkpoint(number: int) -> Callable[[Path], bool]:
    return lambda out: any(
        path.name.isdigit() and int(path.name) >= number for path in (out / "checkpoints").glob("*")
    )


MOMENTS = {
    "before anything was computed": lambda out: (out / "run.json").is_file(),
    "after the head was solved": checkpoint(1),
    "in the middle of training": checkpoint(9),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_run_goes_on_to_the_same_bits(
    photos: Path, whole: Path, tmp_path: Path, moment: str
) -> None:
    out = tmp_path / "run"
    process = start(photos, out)
    wait_for(process, lambda: MOMENTS[moment](out))
    process.kill()
    process.communicate()
    assert read_json(out / "run.json")["status"] == "running"
    run = rg.resume(out)
    assert run.status == "done"
    assert hash_file(out / "model.safetensors") == hash_file(whole / "model.safetensors")
    assert read_json(out / "metrics.json") == read_json(whole / "metrics.json")
    assert bare_history(out) == bare_history(whole)
    assert not (out / "checkpoints").exists()
    assert not list(out.rglob("*.part"))


def test_an_interrupted_run_says_so_and_goes_on_to_the_same_bits(
    photos: Path, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    process = start(photos, out)
    wait_for(process, lambda: checkpoint(4)(out))
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Stopping after this step with a checkpoint" in said
    facts = read_json(out / "run.json")
    assert facts["status"] == "interrupted"
    assert facts["outcome"] == f"Interrupted; go on with: regraft resume {out}"
    assert rg.resume(out).status == "done"
    assert hash_file(out / "model.safetensors") == hash_file(whole / "model.safetensors")


def test_a_run_that_is_done_stays_as_it_is(image_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = hash_file(image_run / "model.safetensors"), os.stat(image_run / "model.safetensors").st_mtime_ns
    assert rg.resume(image_run).status == "done"
    after = hash_file(image_run / "model.safetensors"), os.stat(image_run / "model.safetensors").st_mtime_ns
    assert before == after
    assert "is done already; there is nothing to go on with" in capsys.readouterr().err


@pytest.fixture
def unfinished(own_photos: Path, tmp_path: Path) -> Path:
    """A run that stopped because its plan named a layer that is not there; its own photos may be changed."""
    out = tmp_path / "unfinished"
    with pytest.raises(PlanError, match=r"no layer is called 'blocks\.99'"):
        rg.transfer(
            own_photos,
            out=out,
            source="packaged:efficientnet-lite0",
            size=32,
            strategy="lpft:1",
            changes=["stages.tune.trainable=[blocks.99]"],
            settings=rg.Settings("cpu", backend="eager"),
        )
    assert read_json(out / "run.json")["status"] == "failed"
    return out


def test_what_changed_since_is_a_named_error(unfinished: Path, own_photos: Path) -> None:
    plan = unfinished / "plan.yaml"
    text = plan.read_text()
    plan.write_text(text.replace("blocks.99", "conv_head"))
    with pytest.raises(ResumeError, match=r"the plan of .* changed since the run began"):
        rg.resume(unfinished)
    plan.write_text(text)
    victim = sorted((own_photos / "one").iterdir())[0]
    victim.rename(own_photos / "two" / victim.name)
    with pytest.raises(ResumeError, match=r"the data of .* changed since the run began"):
        rg.resume(unfinished)
    shutil.rmtree(own_photos)
    with pytest.raises(DataError, match=r"the data are no longer at .*photos; put them back"):
        rg.resume(unfinished)
    plan.unlink()
    with pytest.raises(PlanError, match="cannot be read"):
        rg.resume(unfinished)


def test_a_folder_that_holds_something_is_never_written_into(
    photos: Path, image_run: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"holds a run already \(done\)\. Give another --out$"):
        rg.transfer(photos, out=image_run)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not empty and holds no run; give a new folder"):
        rg.transfer(photos, out=tmp_path)
    with pytest.raises(UsageError, match="is a file; give a folder"):
        rg.transfer(photos, out=tmp_path / "notes.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
