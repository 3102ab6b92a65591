"""Runs that were interrupted or killed go on to the same bits; what changed in between is named."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits

import regraft as rg
from regraft.core.errors import DataError, PlanError, ResumeError, UsageError
from regraft.core.files import read_json, write_json
from regraft.core.hashing import hash_file
from regraft.engine.history import bare
from regraft.engine.lock import locked

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


def bare_history(folder: Path) -> list[dict[str, object]]:
    return [bare(json.loads(line)) for line in (folder / "history.jsonl").read_text().splitlines()]


def lines_of(folder: Path) -> int:
    return (folder / "history.jsonl").read_text().count("\n")


def checkpoint(number: int) -> Callable[[Path], bool]:
    return lambda out: any(
        path.name.isdigit() and int(path.name) >= number for path in (out / "checkpoints").glob("*")
    )


MOMENTS = {
    "before anything was computed": lambda out: (out / "run.json").is_file(),
    "after the head was solved": checkpoint(1),
    "in the first epoch": checkpoint(4),
    "in the middle of training": checkpoint(9),
    "in the middle of a save": lambda out: checkpoint(5)(out) and any((out / "checkpoints").glob(".part-*")),
    "after some epochs": lambda out: (out / "history.jsonl").is_file() and lines_of(out) >= 4,
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
    with pytest.raises(PlanError, match="belong to no group"):
        rg.transfer(
            own_photos,
            out=out,
            source="packaged:efficientnet-lite0",
            size=32,
            strategy="lpft:1",
            changes=["stages.tune.groups.0.match=[blocks.99]"],
            settings=rg.Settings("cpu", backend="eager"),
        )
    assert read_json(out / "run.json")["status"] == "failed"
    return out


def refused(folder: Path, match: str) -> None:
    with pytest.raises(ResumeError, match=match):
        rg.resume(folder)


def test_what_changed_since_is_a_named_error(unfinished: Path, own_photos: Path) -> None:
    plan = unfinished / "plan.yaml"
    text = plan.read_text()
    plan.write_text(text.replace("blocks.99", "conv_head"))
    changed = r"stages\.tune\.groups\.0\.match: \['blocks\.99'\] then, \['conv_head'\] now"
    refused(unfinished, rf"the plan of .* changed since the run began \({changed}\)\. Put it back")
    plan.write_text(text)
    first, second, third, *_ = sorted((own_photos / "one").iterdir())
    first.rename(own_photos / "two" / first.name)
    refused(unfinished, rf"the data of .* began \(.*moved: one/{first.name} to two/{first.name}")
    (own_photos / "two" / first.name).rename(first)
    kept = second.read_bytes()
    second.write_bytes(third.read_bytes()[:-1] + b"!")
    shutil.copy(third, own_photos / "zero" / "added.png")
    third.unlink()
    named = f"changed: one/{second.name}; moved: one/{third.name} to zero/added.png"
    refused(unfinished, rf"the data of .* began \({named}.*begin again with the new ones: regraft fit")
    (own_photos / "zero" / "added.png").rename(third)
    second.unlink()
    refused(unfinished, rf"the data of .* began \(gone: one/{second.name}")
    second.write_bytes(kept)
    (own_photos / "one" / "new.png").write_bytes(kept + b"x")
    refused(unfinished, r"the data of .* began \(new: one/new\.png")
    (own_photos / "one" / "new.png").unlink()
    with pytest.raises(PlanError, match="belong to no group"):
        rg.resume(unfinished)
    shutil.rmtree(own_photos)
    looked = r"the data of .* \(a folder of images\) are looked for at .*photos .*: regraft resume"
    with pytest.raises(DataError, match=looked):
        rg.resume(unfinished)
    plan.unlink()
    with pytest.raises(PlanError, match="cannot be read"):
        rg.resume(unfinished)


def change_facts(folder: Path, **facts: Any) -> dict[str, Any]:
    """Make a run's ``run.json`` say something else; returns what it said."""
    before = read_json(folder / "run.json")
    write_json(folder / "run.json", {**before, **facts})
    return dict(before)


def test_other_weights_are_refused_and_other_packages_told(
    unfinished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = change_facts(unfinished, source_hashes={"student": "0" * 64})
    refused(unfinished, r"the weights of packaged:efficientnet-lite0 changed since .* was begun \(sha256 000")
    begun = {**before["begun_with"], "torch": "1.0", "backend": "openvino", "threads": "1"}
    change_facts(unfinished, source_hashes=before["source_hashes"], begun_with=begun)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(PlanError, match="belong to no group"):
            rg.resume(unfinished)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)
    said = capsys.readouterr().err
    assert "The run began with 1 threads and goes on with as many" in said
    changed = [f"torch 1.0 then, {torch.__version__} now", "backend openvino then, eager now"]
    assert f"this has changed: {'; '.join(changed)}. The run goes on, but its bits are no longer" in said
    assert read_json(unfinished / "run.json")["resumed"][-1]["changed"] == changed


def test_two_processes_never_work_on_one_run(unfinished: Path) -> None:
    hold = (
        "import sys, pathlib; from regraft.engine.lock import locked\n"
        "with locked(pathlib.Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", hold, str(unfinished)]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    try:
        refused(unfinished, rf"is being worked on by process {other.pid}\. .*regraft resume {unfinished}")
    finally:
        other.kill()
        other.communicate()
    with pytest.raises(PlanError, match="belong to no group"):  # a kill lets go of the lock
        rg.resume(unfinished)
    with locked(unfinished):
        refused(unfinished, rf"is being worked on by process {os.getpid()}")


def test_a_run_that_was_copied_goes_on_in_its_copy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digits = load_digits(n_class=2)
    target = rg.Target.from_arrays(digits.images[:60], digits.target[:60])
    with pytest.raises(PlanError, match="belong to no group"):
        rg.transfer(
            target,
            out=tmp_path / "first",
            source="packaged:efficientnet-lite0",
            size=32,
            strategy="lpft:1",
            changes=["stages.tune.groups.0.match=[blocks.99]"],
            settings=rg.Settings("cpu", backend="eager"),
        )
    shutil.copytree(tmp_path / "first", tmp_path / "second")
    shutil.rmtree(tmp_path / "first")
    with pytest.raises(PlanError, match="belong to no group"):  # and not that the data are gone
        rg.resume(tmp_path / "second")
    said = capsys.readouterr().err
    assert f"begun in {tmp_path / 'first'} and is now in {tmp_path / 'second'}; it goes on here" in said


def test_a_run_on_a_full_disk_says_so_and_can_go_on(
    photos: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, child = tmp_path / "run", FIT.replace("import sys\n", f"import sys\n{FULL}")
    command = [sys.executable, "-c", child, str(photos), str(out)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert found.returncode == 1
    last = found.stderr.strip().splitlines()[-1]
    assert "FullDiskError: the disk is full: no checkpoint could be written" in last
    assert last.endswith(f"then: regraft resume {out}")
    assert read_json(out / "run.json")["status"] == "failed"
    assert rg.resume(out).status == "done"
    assert hash_file(out / "model.safetensors") == hash_file(whole / "model.safetensors")


FULL = """
import resource
from regraft.engine.train_stage import TrainStageRun
run = TrainStageRun.run
def full(self):
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
    run(self)
TrainStageRun.run = full
"""


def test_what_a_kill_left_half_written_is_in_nobodys_way(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    (out / "begun").mkdir(parents=True)
    halves = [out / ".plan.yaml.8fts32eo.part", out / "begun" / ".plan.yaml.a1b2c3d4.part"]
    for half in halves:
        half.write_text("version: ")
    run = rg.transfer(
        photos, out=out, source="packaged:efficientnet-lite0", size=32, settings=rg.Settings("cpu")
    )
    assert run.status == "done"
    assert not any(half.exists() for half in halves)


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
