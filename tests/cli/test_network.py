"""``--network``: the target model's network may be another than the source's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file

from tests.api.own_networks import build_old
from tests.cli.conftest import Run

GROWN = "tests.api.own_networks:build_grown"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("old") / "old.safetensors"
    save_file(build_old().state_dict(), path)
    return path


def test_a_changed_network_from_plan_to_prediction(
    regraft: Run, photos: Path, checkpoint: Path, tmp_path: Path
) -> None:
    source = ["--source", f"file:{checkpoint}", "--network", GROWN, "--size", 24, "--waive", "added.*"]
    said = regraft("plan", photos, *source, "--strategy", "lpft:1", "--set", "stop.epochs=1")
    assert said.status == 0, said.err
    plan = yaml.safe_load(said.out)
    assert plan["models"]["student"]["network"] == "user"
    assert GROWN not in said.out
    (tmp_path / "plan.yaml").write_text(said.out)
    fitted = [
        regraft("fit", photos, "--out", tmp_path / name, "--backend", "eager", "--json", *more)
        for name, more in (
            ("whole", [*source, "--strategy", "lpft:1", "--set", "stop.epochs=1"]),
            ("planned", ["--plan", tmp_path / "plan.yaml", "--network", GROWN]),
            ("handed", ["--plan", tmp_path / "plan.yaml", "--builder", GROWN]),
        )
    ]
    assert [one.status for one in fitted] == [0, 0, 0], [one.err for one in fitted]
    metrics = [json.loads(one.out)["metrics"]["outputs"] for one in fitted]
    assert metrics[0] == metrics[1] == metrics[2]
    item = sorted(photos.glob("*/*.png"))[0]
    said = regraft("predict", tmp_path / "whole", item, "--builder", GROWN, "--json")
    assert json.loads(said.out)["predictions"][0]["label"] in {"zero", "one", "two"}
    said = regraft("predict", tmp_path / "whole", item)
    assert said.status == 2
    assert "--builder module:function" in said.err
    assert regraft("resume", tmp_path / "whole", "--builder", GROWN).status == 0


def test_a_plan_without_the_networks_builder_says_what_to_type(
    regraft: Run, photos: Path, checkpoint: Path, tmp_path: Path
) -> None:
    source = ["--source", f"file:{checkpoint}", "--network", GROWN, "--waive", "added.*"]
    (tmp_path / "plan.yaml").write_text(regraft("plan", photos, *source, "--size", 24).out)
    said = regraft("fit", photos, "--out", tmp_path / "run", "--plan", tmp_path / "plan.yaml")
    assert said.status == 2
    assert "--builder module:function" in said.err
    assert not (tmp_path / "run").exists()


def test_a_plan_file_takes_no_waivers(regraft: Run, photos: Path, tmp_path: Path) -> None:
    said = regraft("fit", photos, "--out", tmp_path / "run", "--plan", "plan.yaml", "--waive", "*")
    assert said.status == 2
    assert "--plan plan.yaml says all that --waive would; edit the plan file" in said.err
