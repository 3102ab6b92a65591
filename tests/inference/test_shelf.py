"""Shelves: appended, shared, whole or not there, and never a reason to stop."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from regraft.inference import shelf as shelf_module
from regraft.inference.shard import KEY_BYTES, Part, Shard
from regraft.inference.shelf import MissingValuesError, Shelf

FACTS = {"weights": "of a test"}


def keys(*numbers: int) -> np.ndarray:
    return np.array([number.to_bytes(KEY_BYTES, "big") for number in numbers], dtype=f"S{KEY_BYTES}")


def values(*numbers: int) -> torch.Tensor:
    return torch.tensor([[float(number), -float(number)] for number in numbers])


def filled(*numbers: int, facts: dict[str, object] | None = None) -> Shelf:
    shelf = Shelf.open(facts or FACTS)
    shelf.add(Part(keys(*numbers), values(*numbers)))
    shelf.flush()
    return shelf


def test_what_is_added_is_found_again_in_any_order(own_cache: Path) -> None:
    filled(3, 1, 256)
    again = Shelf.open(FACTS)
    assert again.has(keys(1, 2, 3, 256)).tolist() == [True, False, True, True]
    assert torch.equal(again.take(keys(256, 1, 1, 3)), values(256, 1, 1, 3))
    assert not Shelf.open({"weights": "others"}).has(keys(1)).any()
    with pytest.raises(MissingValuesError):
        again.take(keys(1, 2))


def test_what_another_adds_is_found_after_a_refresh(own_cache: Path) -> None:
    first, second = Shelf.open(FACTS), Shelf.open(FACTS)
    second.add(Part(keys(7), values(7)))
    second.flush()
    assert not first.has(keys(7)).any()
    first.refresh()
    assert torch.equal(first.take(keys(7)), values(7))


def test_ragged_values_keep_their_lengths_and_nothing_of_the_padding(own_cache: Path) -> None:
    long, short = torch.rand(1, 6, 3) + 1, torch.rand(2, 4, 3) + 1
    shelf = Shelf.open(FACTS)
    shelf.add(Part(keys(1), long, np.array([5])))
    shelf.add(Part(keys(2, 3), short, np.array([4, 1])))
    shelf.flush()
    again = Shelf.open(FACTS)
    assert torch.equal(again.take(keys(3))[:, :1], short[1:, :1])
    assert again.take(keys(3)).shape == (1, 4, 3), "as long as the network made it"
    assert again.take(keys(3))[0, 1:].abs().sum() == 0
    both = again.take(keys(3, 1))
    assert both.shape == (2, 6, 3)
    assert torch.equal(both[1, :5], long[0, :5])
    assert both[1, 5:].abs().sum() == 0
    (path,) = own_cache.rglob("*.safetensors")
    assert Shard.read(path)._flat().size == (5 + 4 + 1) * 3


@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty", "longer", "header"])
def test_a_damaged_shard_is_dropped(own_cache: Path, damage: str, capsys: pytest.CaptureFixture[str]) -> None:
    filled(1, 2)
    (path,) = own_cache.rglob("*.safetensors")
    whole = path.read_bytes()
    harmed = {
        "truncated": whole[:-3],
        "garbage": b"\xff" * 99,
        "empty": b"",
        "longer": whole + b"1",
        "header": whole[:8] + b"{}" + whole[10:],
    }
    path.unlink()
    path.write_bytes(harmed[damage])
    assert not Shelf.open(FACTS).has(keys(1)).any()
    assert f"dropped and computed again: {path.name}" in capsys.readouterr().err
    assert not path.exists()


WRITER = """
import sys, numpy as np, torch
from regraft.inference.shard import Part
from regraft.inference.shelf import Shelf
from tests.inference.test_shelf import FACTS, keys, values
first, count = int(sys.argv[1]), int(sys.argv[2])
shelf = Shelf.open(FACTS)
print("open", flush=True)
for number in range(first, first + count):
    shelf.add(Part(keys(number), values(number)))
    shelf.flush()
"""


def writer(first: int, count: int) -> subprocess.Popen[bytes]:
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(root)])}
    command = [sys.executable, "-c", WRITER, str(first), str(count)]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, cwd=root)
    assert started.stdout is not None
    assert started.stdout.readline() == b"open\n"
    return started


def test_two_processes_fill_one_shelf_at_the_same_time(own_cache: Path) -> None:
    both = [writer(0, 30), writer(20, 30)]
    assert [one.wait(60) for one in both] == [0, 0]
    for one in both:
        assert one.stdout is not None
        one.stdout.close()
    everything = range(50)
    assert torch.equal(Shelf.open(FACTS).take(keys(*everything)), values(*everything))


def test_a_writer_killed_in_mid_write_leaves_only_whole_values(own_cache: Path) -> None:
    killed = writer(0, 100_000)
    shelf = Shelf.open(FACTS)
    while not shelf.has(keys(20)).all():
        shelf.refresh()
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert killed.stdout is not None
    killed.stdout.close()
    folder = shelf.folder
    assert folder is not None
    half = folder / ".half.safetensors.part"
    half.write_bytes(next(folder.glob("*.safetensors")).read_bytes()[:-7])
    again = Shelf.open(FACTS)
    found = [number for number in range(1000) if again.has(keys(number)).all()]
    assert found == list(range(len(found)))
    assert len(found) > 20
    assert torch.equal(again.take(keys(*found)), values(*found))
    os.utime(half, (0, 0))
    Shelf.open(FACTS)
    assert not half.exists(), "what a dead process left half-made is removed in the end"


def test_a_full_disk_is_said_and_nothing_is_lost(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shelf = filled(1)

    def full(self: Shard, path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Shard, "write", full)
    for number in (2, 3):
        shelf.add(Part(keys(number), values(number)))
        shelf.flush()
    assert capsys.readouterr().err.count("takes no more (No space left on device)") == 1
    assert torch.equal(shelf.take(keys(3, 1, 2)), values(3, 1, 2))
    assert not Shelf.open(FACTS).has(keys(2)).any()


def test_memory_is_bounded_too(own_cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shelf = Shelf(memory=16)
    for number in (1, 2, 3, 4):
        shelf.add(Part(keys(number), values(number)))
        shelf.flush()
    assert shelf.full
    assert shelf.has(keys(1, 2, 3, 4)).tolist() == [True, True, False, False]
    assert "the rest is run when needed" in capsys.readouterr().err


def test_a_shelf_that_was_removed_by_hand_is_noticed(own_cache: Path) -> None:
    shelf = filled(1, 2)
    assert shelf.folder is not None
    for path in shelf.folder.iterdir():
        path.unlink()
    with pytest.raises(MissingValuesError):
        shelf.take(keys(1))
    assert not shelf.has(keys(1)).any()


def test_values_are_written_when_there_are_enough(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf_module, "SHARD_BYTES", 40)
    shelf = Shelf.open(FACTS)
    for number in range(10):
        shelf.add(Part(keys(number), values(number)))
    assert shelf.has(keys(*range(10))).tolist() == [True] * 10
    assert len(list(own_cache.rglob("*.safetensors"))) == 2
