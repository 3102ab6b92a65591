"""``regraft link``: what it prints, writes and refuses."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from tests.api.test_link import NETWORKS
from tests.cli.conftest import Run

SHAPE = ("--input", "2x3x16x16")


@pytest.fixture(autouse=True)
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "linknets.py").write_text(NETWORKS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    import linknets

    save_file(linknets.pretrained().state_dict(), tmp_path / "weights.safetensors")
    yield tmp_path
    sys.modules.pop("linknets", None)


def test_a_proven_link_is_said_and_written(regraft: Run, nets: Path) -> None:
    files = ("--out", "out.safetensors", "--save", "link.json", "--html", "link.html")
    said = regraft("link", "linknets:pretrained", "linknets:build", *SHAPE, *files)
    assert said.status == 0, said.err
    assert "blocks.{0..2}.{weight,bias}" in said.out
    assert "\nPROVEN" in said.out
    assert said.out.count("written: ") == 3
    kept, made = load_file("weights.safetensors"), load_file("out.safetensors")
    assert all((kept[name] == made[name]).all() for name in kept | made)
    assert "PROVEN" in Path("link.html").read_text()
    again = regraft("link", "linknets:pretrained", "linknets:build", *SHAPE, "--saved", "link.json", "--json")
    assert again.status == 0, again.err
    shown = json.loads(again.out)
    assert shown["proof"]["proven"] is True
    assert shown["coverage"]["parameters"] == 1
    assert shown["source_mass"]["unused"] == 0


def test_a_checkpoint_alone_is_loudly_not_verified(regraft: Run) -> None:
    said = regraft("link", "weights.safetensors", "linknets:build", *SHAPE)
    assert said.status == 0, said.err
    assert "NOT VERIFIED" in said.out
    assert "--builder MODULE:FUNCTION" in said.out
    unproven = regraft("link", "weights.safetensors", "linknets:build", *SHAPE, "--require-proof")
    assert unproven.status == 1
    assert "A proof was required" in unproven.err


def test_too_little_coverage_is_status_1_with_everything_listed(regraft: Run, nets: Path) -> None:
    call = ("link", "weights.safetensors", "linknets:deeper", *SHAPE)
    said = regraft(*call, "--out", "out.safetensors", "--html", "link.html")
    assert said.status == 1
    assert "blocks.4.weight" in said.err
    assert "--waive" in said.out
    assert "written: link.html" in said.out
    assert not (nets / "out.safetensors").exists()
    low = regraft(*call, "--require", "0.1", "--out", "out.safetensors")
    assert low.status == 1
    assert "was not written: nothing reaches 4 shared tensors" in low.err
    assert not (nets / "out.safetensors").exists()
    waived = regraft(*call, "--waive", "blocks.[34].*", "--out", "out.safetensors")
    assert waived.status == 0, waived.err
    assert "waived: blocks.[34].*" in waived.out
    assert len(load_file("out.safetensors")) == 14


def test_full_tells_each_tensor(regraft: Run) -> None:
    said = regraft("link", "weights.safetensors", "linknets:build", *SHAPE, "--full")
    assert "blocks.1.weight" in said.out
    assert "{0..2}" not in said.out


MISTAKES = [
    ("weights.safetensors nowhere", 2, "there is no target 'nowhere'"),
    ("nothing.safetensors linknets:build", 1, "there is no source 'nothing.safetensors'"),
    ("weights.safetensors linknets:biuld", 2, "has no attribute 'biuld'"),
    ("weights.safetensors linknets:build --input 2x3xfour", 2, "--input 2x3xfour: give a shape such as"),
    ("weights.safetensors linknets:build --input 0x3", 2, "--input 0x3: give a shape such as"),
    ("weights.safetensors linknets:build --map head", 2, "REGEX=>TO"),
    ("weights.safetensors linknets:build --waive nothing*", 1, "nothing to waive"),
    ("weights.safetensors linknets:build --saved none.json", 2, "there is no saved link none.json"),
    ("weights.safetensors linknets:build --out .", 2, "--out . is a folder"),
    ("weights.safetensors linknets:build --out w.bin", 2, "end the name in .safetensors"),
    ("weights.safetensors linknets:build --html weights.safetensors/x.html", 2, "--html"),
    ("weights.safetensors linknets:build --label x", 2, "describe data"),
    ("weights.safetensors linknets:build --fix --no-verify", 2, "leave --no-verify out"),
]


@pytest.mark.parametrize(("line", "status", "message"), MISTAKES, ids=[line for line, _, _ in MISTAKES])
def test_a_mistake_is_answered_in_a_sentence(
    regraft: Run, nets: Path, line: str, status: int, message: str
) -> None:
    before = sorted(path.name for path in nets.iterdir() if path.name != "__pycache__")
    extra = () if "--input" in line else SHAPE
    said = regraft("link", *line.split(), *extra)
    assert said.status == status, said.err
    assert message in said.err
    assert said.out == ""
    assert sorted(path.name for path in nets.iterdir() if path.name != "__pycache__") == before
