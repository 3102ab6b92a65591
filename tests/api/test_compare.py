"""``rg.compare`` and ``regraft report A B`` on real runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import regraft as rg
from regraft.evidence.kept_values import read_values
from tests.cli.conftest import Run, regraft as regraft  # the fixture


@pytest.fixture(scope="module")
def other(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another run on the photos: fewer labels, another seed."""
    out = tmp_path_factory.mktemp("runs") / "fewer"
    source = "packaged:efficientnet-lite0"
    rg.transfer(photos, out=out, source=source, size=32, per_class=4, seed=1, settings=rg.Settings("cpu"))
    return out


def test_a_run_keeps_what_its_figure_is_the_mean_of(image_run: Path) -> None:
    output = json.loads((image_run / "metrics.json").read_text())["outputs"]["label"]
    kept = read_values(image_run)["label"]
    assert kept.figure() == pytest.approx(output["metrics"]["accuracy"]["value"])
    assert len(kept.values) == output["count"]


def test_runs_on_the_same_data_are_paired(image_run: Path, other: Path, tmp_path: Path) -> None:
    found = rg.compare([image_run, rg.Run.load(other)], out=tmp_path / "both.html")
    (group,) = found.groups
    assert group.paired
    gap = group.entries[1].difference
    assert gap is not None
    assert gap.value == pytest.approx((group.entries[1].value or 0) - (group.entries[0].value or 0))
    assert {"labels", "seed", "plan"} <= {one.name for one in found.aspects if one.differs}
    assert found.sentence in (tmp_path / "both.html").read_text()


def test_the_command_compares_several_and_still_writes_one(
    regraft: Run, image_run: Path, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = regraft("report", image_run, other)
    assert said.status == 0, said.err
    assert "report: comparison.html" in said.out
    assert "better than photos by" in said.out
    assert (tmp_path / "comparison.html").is_file()
    told = json.loads(regraft("report", image_run, other, "--out", "x.html", "--json").out)
    assert told["report"] == "x.html"
    assert [one["name"] for one in told["runs"]] == ["photos", "fewer"]
    alone = tmp_path / "alone"
    shutil.copytree(other, alone)
    assert regraft("report", alone).out.strip() == str(alone / "report.html")
    assert regraft("report", alone, "--out", "x.html").status == 2
    assert regraft("report", alone, alone).status == 2
