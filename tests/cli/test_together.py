"""One trunk for several targets, from the command line: fit, resume, predict, evaluate, prove."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

import regraft as rg
from regraft.cli.given import find_data, open_target
from regraft.core.errors import UsageError
from regraft.core.files import read_json
from regraft.engine.train_stage import TrainStageRun
from tests.cli.conftest import Run


@pytest.fixture(scope="module")
def inks(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of other photos: how much ink, and whether much."""
    from PIL import Image
    from sklearn.datasets import load_digits

    root = tmp_path_factory.mktemp("inks")
    images = load_digits().images[200:240]
    middle = float(np.median(images.mean((1, 2))))
    rows = ["file,much,ink"]
    for index, image in enumerate(images):
        Image.fromarray(np.rint(image * (255 / 16)).astype(np.uint8)).resize((32, 32)).save(
            root / f"{index}.png"
        )
        rows.append(f"{index}.png,{'much' if image.mean() > middle else 'little'},{image.mean():.4f}")
    (root / "inks.csv").write_text("\n".join(rows))
    return root / "inks.csv"


FIT = ("--label", "inks.much", "--label", "inks.ink", "--size", 32, "--backend", "eager", "--strategy")
TUNE = ("multitask", "--set", "stop.epochs=2", "--set", "stop.keep=last", "--set", "streams.target.batch=16")


@pytest.fixture
def joint(regraft: Run, photos: Path, inks: Path, tmp_path: Path) -> Path:
    """A finished run on both: a probe."""
    out = tmp_path / "joint"
    said = regraft("fit", f"photos={photos}", f"inks={inks}", "--out", out, *FIT, "probe")
    assert said.status == 0, said.err
    return out


def test_one_run_serves_both(regraft: Run, joint: Path, photos: Path, inks: Path) -> None:
    metrics = read_json(joint / "metrics.json")
    assert list(metrics["outputs"]) == ["photos.label", "inks.much", "inks.ink"]
    assert metrics["count"] == 20
    counted = {name: (one["count"], one["missing"]) for name, one in metrics["outputs"].items()}
    assert counted == {"photos.label": (12, 8), "inks.much": (8, 12), "inks.ink": (8, 12)}

    picture = sorted((photos / "two").iterdir())[0]
    said = regraft("predict", joint, picture, "--json")
    assert list(json.loads(said.out)["predictions"][0]["outputs"]) == list(metrics["outputs"])
    said = regraft("predict", joint, picture, "--output", "inks", "--csv")
    (row,) = csv.DictReader(io.StringIO(said.out))
    assert [name for name in row if name.startswith(("photos", "inks"))] == [
        "inks.much.task", "inks.much.label", "inks.ink.task", "inks.ink.value",
    ]  # fmt: skip
    said = regraft("predict", joint, picture, "--output", "cells")
    assert said.status == 2
    assert "there is no output cells; there are: photos.label, inks.much, inks.ink" in said.err

    said = regraft("evaluate", joint, f"inks={inks}", "--json")
    assert said.status == 0, said.err
    assert {name: one["count"] for name, one in json.loads(said.out)["outputs"].items()} == {
        "inks.much": 40,
        "inks.ink": 40,
    }
    said = regraft("evaluate", joint, photos)
    assert said.status == 2
    assert f"as in regraft evaluate {joint} photos=DATA" in said.err
    said = regraft("evaluate", joint, f"cells={photos}")
    assert said.status == 2
    assert "there is no 'cells'" in said.err
    assert "has photos, inks" in said.err


def test_the_probe_of_a_member_is_that_of_a_run_of_its_own(
    regraft: Run, joint: Path, photos: Path, tmp_path: Path
) -> None:
    alone = tmp_path / "alone"
    said = regraft("fit", photos, "--out", alone, "--size", 32, "--backend", "eager")
    assert said.status == 0, said.err
    one, other = (load_file(folder / "model.safetensors") for folder in (alone, joint))
    assert np.allclose(one["heads.output_label.weight"], other["heads.output_photos_label.weight"], atol=1e-6)
    figures = [read_json(folder / "metrics.json")["outputs"] for folder in (alone, joint)]
    assert figures[0]["label"]["metrics"]["accuracy"] == figures[1]["photos.label"]["metrics"]["accuracy"]


def test_an_interrupted_one_resumes_to_the_bit(
    regraft: Run, photos: Path, inks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = (f"photos={photos}", f"inks={inks}")
    assert regraft("fit", *data, "--out", tmp_path / "whole", *FIT, *TUNE).status == 0
    step, taken = TrainStageRun._step, []

    def interrupted(run: TrainStageRun) -> float:
        taken.append(run)
        if len(taken) == 4:
            raise KeyboardInterrupt
        return step(run)

    with monkeypatch.context() as patch:
        patch.setattr(TrainStageRun, "_step", interrupted)
        assert regraft("fit", *data, "--out", tmp_path / "run", *FIT, *TUNE).status == 130
    assert read_json(tmp_path / "run" / "run.json")["status"] == "interrupted"
    said = regraft("resume", tmp_path / "run")
    assert said.status == 0, said.err
    one, other = (tmp_path / name / "model.safetensors" for name in ("whole", "run"))
    assert one.read_bytes() == other.read_bytes()
    lines = (tmp_path / "run" / "history.jsonl").read_text().splitlines()
    weights = [weights for line in lines if (weights := json.loads(line).get("weights"))]
    assert [len(each) for each in weights] == [3, 3], "a learned weight for each output"


def test_data_that_went_away_are_named_with_their_member(
    regraft: Run, photos: Path, inks: Path, tmp_path: Path
) -> None:
    kept = Path(shutil.copytree(photos, tmp_path / "photos"))
    out = tmp_path / "run"
    said = regraft("fit", f"photos={kept}", f"inks={inks}", "--out", out, *FIT, "probe")
    assert said.status == 0, said.err
    shutil.rmtree(kept)
    said = regraft("prove", out, "--seeds", 3)
    assert said.status == 1
    assert f"photos of the data of {out} (a folder of images) are looked for at {kept}" in said.err


def test_a_proof_is_about_one_output(regraft: Run, joint: Path) -> None:
    said = regraft("prove", joint, "--seeds", 3, "--output", "cells.label")
    assert said.status == 2
    assert "there is no output 'cells.label'; there are: photos.label, inks.much, inks.ink" in said.err


def test_what_names_data_and_what_does_not(photos: Path, tmp_path: Path) -> None:
    odd = tmp_path / "a=b"
    assert find_data([str(photos)]) == photos
    assert find_data([f"x={photos}"]) == {"x": photos}
    assert find_data([str(odd)]) != odd
    odd.mkdir()
    assert find_data([str(odd)]) == odd, "a folder of that name comes first"
    with pytest.raises(UsageError, match="two targets are called x"):
        find_data([f"x={photos}", f"x={photos}"])
    with pytest.raises(UsageError, match="several targets need names, as in cells=cells/"):
        find_data([str(photos), f"x={photos}"])


def test_options_for_one_member(photos: Path, inks: Path) -> None:
    data = [f"photos={photos}", f"inks={inks}"]
    target = open_target(data, label=["much"], task=["photos=multiclass", "inks.much=multiclass"])
    assert [(spec.name, spec.kind) for spec in target.tasks] == [
        ("photos.label", "multiclass"),
        ("inks.much", "multiclass"),
    ]
    with pytest.raises(UsageError, match=r"--task cells\.label: there are photos, inks"):
        open_target(data, label=["much"], task=["cells.label=binary"])
    assert isinstance(rg.Target.together(photos=photos), rg.Target)
