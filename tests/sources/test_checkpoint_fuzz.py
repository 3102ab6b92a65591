"""A short run of benchmarks/fuzz_checkpoints.py: damaged files are read or refused, never more."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
INPUTS = {"keras": 5}  # a process for each; of the others
MANY = 250


@pytest.fixture
def fuzz(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import fuzz_checkpoints

    return fuzz_checkpoints


@pytest.mark.parametrize(
    "kind",
    ["safetensors", "sharded", "torch", "torch-legacy", "numpy", "numpy-deflated", "onnx", "keras"],
)
def test_damaged_files(kind: str, fuzz: ModuleType, tmp_path: Path) -> None:
    material = fuzz.Material(kind, tmp_path, seed=1)
    material.path.write_bytes(material.sound)
    assert fuzz.attempt(material.path) == "read"
    outcomes = Counter(fuzz.attempt(material.write(number)) for number in range(INPUTS.get(kind, MANY)))
    assert set(outcomes) <= {"read", "refused", "library"}
    assert outcomes["refused"] > 0


def test_mutations_are_drawn_by_their_number(fuzz: ModuleType, tmp_path: Path) -> None:
    material = fuzz.Material("torch", tmp_path, seed=1)
    contents = [material.write(number).read_bytes() for number in range(20)]
    assert [material.write(number).read_bytes() for number in range(20)] == contents
    assert len(set(contents)) > 15


def test_other_errors_are_crashes(fuzz: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: Path) -> None:
        raise KeyError(path)

    monkeypatch.setattr("regraft.sources.open_checkpoint", broken)
    with pytest.raises(KeyError):
        fuzz.attempt(tmp_path)


def test_a_worker_that_dies_is_a_crash(
    fuzz: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = tmp_path / "dying"
    dying.write_text("#!/bin/sh\nkill -SEGV $$\n")
    dying.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(dying))
    *_, counts = fuzz.run_kind("safetensors", 2, 0, tmp_path / "work")
    assert (counts["next"], counts["crash"]) == (2, 2)
    written = (tmp_path / "work" / "crashes").read_text().splitlines()
    assert written == ["safetensors:0 ended with status -11", "safetensors:1 ended with status -11"]


def test_workers_count_their_inputs(fuzz: ModuleType, tmp_path: Path) -> None:
    *_, counts = fuzz.run_kind("safetensors", 50, 0, tmp_path / "work")
    assert counts["next"] == sum(counts[name] for name in fuzz.OUTCOMES) == 50
    assert counts["crash"] == 0
