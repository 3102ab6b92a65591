"""A finished run, loaded for prediction: bit for bit what it was, in the promised shape, running no code."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

import regraft as rg
from regraft.core.errors import BundleError, SourceError, UsageError
from regraft.core.preprocessing import ImagePreprocessing
from regraft.engine import execute, write_model
from regraft.sources import from_module
from tests.engine.conftest import Bench

PREDICT = """
import json, sys
from regraft import Predictor
assert "regraft.engine" not in sys.modules
print(json.dumps(Predictor.load(sys.argv[1]).predict(sys.argv[2:])))
assert not {"regraft.engine", "regraft.strategies"} & set(sys.modules), "training code"
"""


def elsewhere(*arguments: str | Path) -> list[dict]:  # type: ignore[type-arg]
    """Predictions of a new process."""
    command = [sys.executable, "-c", PREDICT, *map(str, arguments)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_a_new_process_predicts_what_the_run_predicted_before_saving(bench: Bench, tmp_path: Path) -> None:
    work = bench.open(bench.plan("lpft:1", "stop.epochs=1", "stop.keep=last"))
    execute(work)
    everyone = np.arange(len(bench.target))
    task = work.tasks["label"]
    before = task.decode(task.scores(work.logits(everyone)["label"]))
    folder = tmp_path / "run"
    write_model(folder, work.models["student"], bench.source, work.tasks)
    root = bench.target.origin["path"]
    names = [str(Path(root) / name) for name in bench.target.examples.names]
    found = elsewhere(folder, *reversed(names))
    assert [entry["item"] for entry in reversed(found)] == names
    assert [entry["outputs"]["label"] for entry in reversed(found)] == before


def test_texts_are_predicted_alike_in_a_new_process(text_run: Path) -> None:
    texts = ["A library for numbers", "Python bindings", "x " * 300]
    assert elsewhere(text_run, *texts) == rg.Predictor.load(text_run).predict(texts)


def test_every_kind_of_task_has_its_promised_shape(text_run: Path) -> None:
    (entry,) = rg.Predictor.load(text_run).predict(["A library for numbers in Python"])
    json.dumps(entry, allow_nan=False)
    assert set(entry) == {"item", "outputs"}
    outputs = entry["outputs"]
    assert [outputs[name]["task"] for name in outputs] == ["binary", "multiclass", "multilabel", "regression"]
    for name, classes in (("python", {"says", "silent"}), ("words", {"few", "some", "many"})):
        assert set(outputs[name]) == {"task", "label", "probabilities"}
        probabilities = outputs[name]["probabilities"]
        assert set(probabilities) == classes
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-6)
        assert outputs[name]["label"] == max(probabilities, key=probabilities.get)
    letters = outputs["letters"]
    assert set(letters) == {"task", "labels", "probabilities"}
    assert letters["labels"] == [name for name, value in letters["probabilities"].items() if value > 0.5]
    assert set(outputs["length"]) == {"task", "value"}
    assert isinstance(outputs["length"]["value"], float)


def test_a_single_outputs_fields_also_stand_beside_the_item(image_run: Path, photos: Path) -> None:
    (entry,) = rg.Predictor.load(image_run).predict(str(sorted((photos / "two").iterdir())[0]))
    assert {name: entry[name] for name in entry["outputs"]["label"]} == entry["outputs"]["label"]


def test_bad_items_are_entries_with_errors_in_input_order(
    image_run: Path, photos: Path, tmp_path: Path
) -> None:
    good = sorted((photos / "one").iterdir())[0]
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "half.png").write_bytes(good.read_bytes()[:60])
    items = ["nowhere.png", good, tmp_path / "half.png", tmp_path / "*.gif", good, tmp_path / "empty.png"]
    found = rg.Predictor.load(image_run).predict([*map(str, items), str(tmp_path / "notes.txt")])
    assert [entry["item"] for entry in found] == [*map(str, items), str(tmp_path / "notes.txt")]
    assert ["error" in entry for entry in found] == [True, False, True, True, False, True, True]
    assert found[0]["error"] == "there is no such file"
    assert found[3]["error"] == "no file matches this pattern"
    assert "0 bytes" in found[5]["error"]
    assert found[1] == found[4]
    assert all(set(entry) == {"item", "error"} for entry in found if "error" in entry)


def test_nothing_but_bad_items_is_an_answer_too(image_run: Path, text_run: Path) -> None:
    assert rg.Predictor.load(image_run).predict([]) == []
    (entry,) = rg.Predictor.load(image_run).predict(["nowhere.png"])
    assert set(entry) == {"item", "error"}
    blank, empty = rg.Predictor.load(text_run).predict([" ", ""])
    assert blank["error"] == empty["error"] == "empty text"


def test_folders_globs_arrays_and_pictures(image_run: Path, photos: Path) -> None:
    predictor = rg.Predictor.load(image_run)
    files = sorted((photos / "zero").iterdir())
    by_folder = predictor.predict(photos / "zero")
    assert [entry["item"] for entry in by_folder] == [str(file) for file in files]
    assert predictor.predict(str(photos / "zero" / "*.png")) == by_folder
    pixels = np.stack([np.asarray(Image.open(file)) for file in files[:3]])
    by_array = predictor.predict(pixels)
    assert [entry["outputs"] for entry in by_array] == [entry["outputs"] for entry in by_folder[:3]]
    with Image.open(files[0]) as picture:
        (by_picture,) = predictor.predict(picture)
    assert by_picture["outputs"] == by_folder[0]["outputs"]


@pytest.fixture
def copied(image_run: Path, text_run: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A copy of one of the runs that may be damaged."""

    def copy(kind: str) -> Path:
        return Path(shutil.copytree({"image": image_run, "text": text_run}[kind], tmp_path / kind))

    return copy


def test_another_tokenizer_is_refused(copied: Callable[[str], Path]) -> None:
    folder = copied("text")
    tokenizer = folder / "tokenizer" / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text() + " ")
    with pytest.raises(BundleError, match=r"model\.json is damaged: tokenizer\.json is missing or is not"):
        rg.Predictor.load(folder)
    tokenizer.unlink()
    with pytest.raises(BundleError, match=r"tokenizer\.json is missing"):
        rg.Predictor.load(folder)


def test_damaged_weights_are_refused(copied: Callable[[str], Path]) -> None:
    folder = copied("image")
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BundleError, match=r"model\.safetensors is not the file that the run wrote"):
        rg.Predictor.load(folder)
    tensors = load_file_copy(whole, folder / "other.safetensors")
    tensors["heads.output_label.bias"] += 1
    save_file(tensors, weights)
    with pytest.raises(BundleError, match=r"its sha256 is not the one in model\.json"):
        rg.Predictor.load(folder)
    weights.unlink()
    with pytest.raises(BundleError, match=r"it has no model\.safetensors"):
        rg.Predictor.load(folder)


def load_file_copy(data: bytes, path: Path) -> dict[str, torch.Tensor]:
    path.write_bytes(data)
    return {name: tensor.clone() for name, tensor in load_file(path).items()}


def test_a_missing_or_broken_description_is_named(copied: Callable[[str], Path], tmp_path: Path) -> None:
    folder = copied("image")
    (folder / "model.json").write_text('{"format": 1,')
    with pytest.raises(BundleError, match=r"model\.json is damaged"):
        rg.Predictor.load(folder)
    (folder / "model.json").unlink()
    with pytest.raises(BundleError, match="go on with: regraft resume"):
        rg.Predictor.load(folder)
    with pytest.raises(BundleError, match=r"there is no folder .*nowhere\. Give the folder that"):
        rg.Predictor.load(tmp_path / "nowhere")
    (tmp_path / "photos").mkdir()
    with pytest.raises(BundleError, match=r"holds no model\.json: it is no run"):
        rg.Predictor.load(tmp_path / "photos")


@pytest.mark.parametrize("name", ["os:system", "subprocess", "tests.inference.test_predictor:network"])
def test_code_that_is_named_in_a_file_is_never_run(copied: Callable[[str], Path], name: str) -> None:
    folder = copied("image")
    facts = json.loads((folder / "model.json").read_text())
    facts["builder"] = {"name": name, "options": {}}
    (folder / "model.json").write_text(json.dumps(facts))
    with pytest.raises(SourceError, match="there is no builder"):
        rg.Predictor.load(folder)


def network() -> nn.Module:
    """A network of the user's own."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )


def test_a_network_of_the_users_own_asks_for_its_builder_again(photos: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = from_module(network(), ImagePreprocessing(size=(16, 16)), name="my network")
    run = rg.transfer(
        photos, out=tmp_path / "run", source=source, settings=rg.Settings("cpu", backend="eager")
    )
    with pytest.raises(UsageError, match=r"is a network of your own: hand its builder over again"):
        rg.Predictor.load(run.folder)
    again = rg.Predictor.load(run.folder, builder=network)
    assert len(again.predict(photos)) == 60
    assert "network" not in json.loads((run.folder / "model.json").read_text())["builder"]["options"]
    with pytest.raises(BundleError, match="cannot be loaded into the network"):
        rg.Predictor.load(run.folder, builder=lambda: nn.Sequential(nn.Conv2d(3, 8, 5), nn.Flatten()))
