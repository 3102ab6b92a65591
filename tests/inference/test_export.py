"""ONNX gives PyTorch's logits; safetensors holds the network under its own names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

import regraft as rg
from regraft.core.errors import UsageError
from regraft.inference import pieces_of
from regraft.targets import read_items

onnxruntime = pytest.importorskip("onnxruntime")


@pytest.mark.parametrize("kind", ["image", "text"])
def test_onnx_gives_the_same_logits(
    kind: str, image_run: Path, text_run: Path, photos: Path, tmp_path: Path
) -> None:
    folder = {"image": image_run, "text": text_run}[kind]
    made = rg.export(folder, to="onnx", out=tmp_path / "model.onnx")
    assert made["max_relative_difference"] <= 1e-5
    predictor = rg.Predictor.load(folder)
    items = {"image": [str(photos / "two")], "text": ["A parser", "Tools for maps and for sets of them"]}
    inputs = read_items(items[kind], predictor.preprocessing).inputs
    pieces, _ = pieces_of(inputs, np.arange(2))
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    batch = {name: tensor.numpy() for name, tensor in inputs.batch(pieces).items()}
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(None, batch), strict=True))
    expected = predictor.logits_of(inputs, np.arange(2))
    assert set(found) == set(expected)
    for name, logits in expected.items():
        scale = max(np.abs(logits).max(), 1.0)
        assert np.abs(found[name] - logits).max() <= 1e-5 * scale


def test_safetensors_have_the_networks_own_names(image_run: Path, tmp_path: Path) -> None:
    made = rg.export(image_run, to="safetensors", out=tmp_path / "plain.safetensors")
    with safe_open(made["file"], framework="pt") as file:
        names = set(file.keys())
    assert made["tensors"] == len(names)
    assert {"_conv_stem.weight", "heads.output_label.weight"} <= names


def test_an_unknown_format_says_what_there_is(image_run: Path) -> None:
    with pytest.raises(UsageError, match="--to torch: there are onnx, safetensors"):
        rg.export(image_run, to="torch")
