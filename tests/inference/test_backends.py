"""Compiled layers give what eager gives, or are given up aloud."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from regraft.core.errors import UsageError
from regraft.core.preprocessing import ImagePreprocessing
from regraft.inference import backends
from regraft.inference.backends import WORTH_COMPILING, EagerBackend, open_backend, wanted_backend
from regraft.sources import from_module
from regraft.sources.native import example_batch, load_native

CPU = torch.device("cpu")


def test_compiled_layers_agree_with_eager(image_embedder: tuple, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[type-arg]
    prepared, make = image_embedder
    compiled, eager = make(backend="openvino"), make()
    everyone = np.arange(len(prepared.inputs))
    found, expected = compiled.features(everyone), eager.features(everyone)
    assert compiled.backend_name == "openvino"
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()
    assert not torch.equal(found, expected), "nothing was compiled"
    assert torch.equal(make(backend="openvino").features(everyone[::-1].copy()), found.flip(0))


class Moody(nn.Module):
    """Decides by its input what to do, which no exporter can follow."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 4)

    def forward(self, pixels: Tensor) -> Tensor:
        pooled = pixels.mean((2, 3))
        return self.layer(pooled if pooled.sum().item() > 0 else -pooled)


def test_what_cannot_be_compiled_runs_eagerly_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    source = from_module(Moody(), ImagePreprocessing(size=(8, 8)))
    trunk, batch = load_native(source), example_batch(source)
    backend = open_backend("openvino", trunk, len(trunk.blocks), batch, CPU)
    assert isinstance(backend, EagerBackend)
    assert "The frozen layers cannot be compiled" in capsys.readouterr().err
    assert torch.equal(backend.run(batch), trunk(batch))


def test_compiled_layers_that_depart_are_given_up_aloud(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    source = from_module(network, ImagePreprocessing(size=(8, 8)))
    trunk, batch = load_native(source), example_batch(source)
    monkeypatch.setattr(backends, "TOLERANCE", -1.0)
    backend = open_backend("openvino", trunk, len(trunk.blocks), batch, CPU)
    assert isinstance(backend, EagerBackend)
    assert "The compiled layers depart from eager by" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wanted", "pieces", "shapes", "device", "chosen"),
    [
        ("auto", WORTH_COMPILING, 1, "cpu", "openvino"),
        ("auto", WORTH_COMPILING - 1, 1, "cpu", "eager"),
        ("auto", WORTH_COMPILING, 2, "cpu", "eager"),
        ("auto", WORTH_COMPILING, 1, "cuda", "eager"),
        ("openvino", 1, 1, "cpu", "openvino"),
        ("openvino", 1, 3, "cpu", "eager"),
        ("eager", WORTH_COMPILING, 1, "cpu", "eager"),
    ],
)
def test_the_backend_is_chosen_by_counts(
    wanted: str, pieces: int, shapes: int, device: str, chosen: str
) -> None:
    found = wanted_backend(wanted, pieces=pieces, shapes=shapes, device=torch.device(device))
    assert found == chosen


def test_an_unknown_backend_says_what_there_is() -> None:
    with pytest.raises(UsageError, match="there is no backend 'tvm'; there are: auto, eager, openvino"):
        wanted_backend("tvm", pieces=1, shapes=1, device=CPU)
