"""Layers that a run added, as data: put in again without renaming anything, and nothing else than that."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from regraft.core.errors import SourceError
from regraft.sources.added import AddedLayers, adapted
from regraft.sources.layers import is_convolution
from regraft.sources.source import BuilderSpec

FACTS: dict[str, Any] = {"kind": "adapter", "places": ["0"], "options": {"width": 3, "activation": "gelu"}}


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(4, 6), (2, 5, 4)),
        (nn.Conv1d(4, 6, 3, stride=2, bias=False), (2, 4, 9)),
        (nn.Conv2d(4, 6, 3, padding=1), (2, 4, 5, 5)),
    ],
    ids=lambda given: type(given).__name__,
)
def test_a_bottleneck_stands_behind_what_the_layer_gives(layer: nn.Module, shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator)
    plain = layer(x)
    made: Any = adapted(layer, "0", width=3, activation="relu")
    assert torch.equal(made(x), plain)
    assert made.weight is layer.weight
    assert list(made.state_dict())[: len(layer.state_dict())] == list(layer.state_dict())
    with torch.no_grad():
        for parameter in made.adapter.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    channels_last = plain.movedim(1, -1) if plain.ndim > 3 or not isinstance(layer, nn.Linear) else plain
    down, up = made.adapter.down, made.adapter.up
    narrow = torch.relu(channels_last @ down.weight.view(3, 6).T + down.bias)
    expected = channels_last + narrow @ up.weight.view(6, 3).T + up.bias
    given = made(x) if isinstance(layer, nn.Linear) else made(x).movedim(1, -1)
    assert torch.allclose(given, expected, atol=1e-5)


def test_a_builder_says_what_was_added_and_older_ones_say_nothing() -> None:
    spec = BuilderSpec("timm", {"model": "x"}, (AddedLayers.from_json(FACTS),))
    assert BuilderSpec.from_json(spec.to_json()) == spec
    assert spec.to_json()["added"] == [FACTS]
    assert BuilderSpec("timm", {}).to_json() == {"name": "timm", "options": {}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "os.system"}, "no kind of added layers is called 'os.system'; there is adapter"),
        ({"options": {"width": 10**9, "activation": "gelu"}}, "whole number from 1 to 65536; got 1000000000"),
        ({"options": {"width": 3, "activation": "eval"}}, "has one of gelu, relu, tanh; got 'eval'"),
        ({"options": {"width": 3, "activation": "gelu", "forward": "x"}}, "got forward"),
    ],
)
def test_a_file_names_no_code(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SourceError, match=message):
        AddedLayers.from_json({**FACTS, **change})


@pytest.mark.parametrize(("place", "message"), [("5", "has no such layer"), ("1", "1 is a ReLU")])
def test_a_place_that_is_none_is_named(place: str, message: str) -> None:
    layers = AddedLayers.from_json({**FACTS, "places": [place]})
    with pytest.raises(SourceError, match=message):
        layers.put_into(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))


def test_what_holds_a_bottleneck_is_no_plain_convolution_any_more() -> None:
    layer = adapted(nn.Conv2d(4, 4, 1), "0", width=2, activation="gelu")
    assert not is_convolution(layer, nn.Conv2d)
    with pytest.raises(SourceError, match="an adapter stands behind Linear layers and convolutions; 0 is a"):
        adapted(layer, "0", width=2, activation="gelu")
