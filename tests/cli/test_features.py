"""``regraft features`` end to end, in a process of its own and in this one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.torch import load_file
from typer.testing import CliRunner

from regraft.cli.app import app

LITE = ["--source", "packaged:efficientnet-lite0", "--size", "32", "--device", "cpu"]


def run(*arguments: str | Path):  # type: ignore[no-untyped-def]
    return CliRunner().invoke(app, ["features", *map(str, arguments)])


def test_a_folder_becomes_a_file(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "f.safetensors"
    done = run(photos / "zero", tmp_path / "no.png", *LITE, "--out", out, "--json")
    assert done.exit_code == 0, done.output
    shown = json.loads(done.stdout)
    count = len(list((photos / "zero").iterdir()))
    assert shown["shape"] == [count, 1280]
    assert shown["unreadable"] == [{"item": str(tmp_path / "no.png"), "error": "there is no such file"}]
    assert tuple(load_file(out)["features"].shape) == (count, 1280)


def test_a_column_of_texts_becomes_tokens(summaries_csv: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.safetensors"
    source = ["--source", "packaged:minilm", "--output", "tokens", "--device", "cpu"]
    done = run(summaries_csv, "--column", "body", *source, "--out", out)
    assert done.exit_code == 0, done.output
    assert "x 384 (tokens) of packaged:minilm, run by eager" in done.stdout
    tensors = load_file(out)
    assert len(tensors["lengths"]) == 40
    assert tensors["features"].shape[0] == int(tensors["lengths"].sum())


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    shown = run("--help").stdout
    for part in (
        "regraft features photos/ --source packaged:efficientnet-lite0 --out",
        "--cut layer3",
        "lengths",
    ):
        assert part in " ".join(shown.split())


def test_a_source_has_to_be_named(photos: Path) -> None:
    assert run(photos, "--out", "f.safetensors").exit_code == 2


def test_a_name_that_is_no_text_is_written_as_near_as_can_be(photos: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "named", tmp_path / "f.safetensors"
    folder.mkdir()
    try:
        named = os.fsencode(folder) + b"/caf\xe9.png"
        Path(os.fsdecode(named)).write_bytes(next((photos / "zero").iterdir()).read_bytes())
    except OSError:
        pytest.skip("this file system takes text alone")
    done = run(folder, *LITE, "--out", out)
    assert done.exit_code == 0, done.output
    with safe_open(out, "pt") as file:
        assert json.loads(file.metadata()["names"])[0].endswith("caf\ufffd.png")
