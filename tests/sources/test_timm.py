"""Chains equal timm's own features; random weights, so that nothing has to be fetched."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from regraft.core.errors import SourceError
from regraft.sources import build_trunk, example_batch, find
from regraft.sources.source import BuilderSpec

pytestmark = pytest.mark.vision


@pytest.mark.parametrize(
    ("name", "blocks", "passing"),
    [
        ("tf_efficientnet_lite0", 19, "map"),
        ("mobilenetv3_small_100", 14, "map"),
        ("resnet18", 10, "map"),
        ("convnext_atto", 19, "map"),
        ("deit_tiny_distilled_patch16_224", 15, "tokens"),
        ("regnety_002", 15, "map"),
    ],
)
def test_chain(name: str, blocks: int, passing: str | None, exactness: SimpleNamespace) -> None:
    source = find(f"timm:{name}", pretrained=False)
    torch.manual_seed(0)
    trunk, batch = build_trunk(source).eval(), example_batch(source, count=1)
    with torch.no_grad():
        features = trunk.network.forward_features(batch["pixels"])
        assert torch.equal(trunk(batch), trunk.network.forward_head(features, pre_logits=True))
        if passing:
            assert torch.equal(trunk.output(batch, passing), features)
    assert len(trunk.blocks) == blocks
    assert source.weights is None
    exactness.assert_cuts_are_exact(trunk, batch, every=7)
    exactness.assert_owned_once(trunk)
    exactness.assert_meta(source)


def test_what_timm_says_of_its_weights() -> None:
    source = find("timm:tf_efficientnet_lite0.in1k", pretrained=False)
    assert source.preprocessing.mean == (0.5, 0.5, 0.5)  # type: ignore[union-attr]
    assert source.head == ("classifier.weight", "classifier.bias")
    assert len(source.classes) == 1000
    assert source.classes[1] == "goldfish"


@pytest.mark.parametrize(
    ("model", "arguments", "said"),
    [
        ("resnet18", {"checkpoint_path": "x.pth"}, "checkpoint_path, which no run of regraft writes down"),
        ("resnet18", {"pretrained": True, "drop_rate": 0.1}, "built with pretrained, which no run"),
        ("hf-hub:someone/model", {}, "is not the name of a model of timm"),
        ("local-dir:folder", {"img_size": 32}, "is not the name of a model of timm"),
    ],
)
def test_a_bundle_names_nothing_to_load(model: str, arguments: dict[str, object], said: str) -> None:
    honest = find("timm:resnet18", pretrained=False)
    changed = BuilderSpec("timm", {"model": model, "arguments": arguments})
    with pytest.raises(SourceError, match=said):
        build_trunk(replace(honest, builder=changed))


def test_size_is_honoured() -> None:
    source = find("timm:vit_tiny_patch16_224", pretrained=False, size=64)
    assert example_batch(source)["pixels"].shape[-1] == 64
    trunk = build_trunk(source).eval()
    assert trunk.network.pos_embed.shape[1] == 17  # type: ignore[union-attr, index]
    assert trunk(example_batch(source)).shape == (2, 192)


def test_unknown_model() -> None:
    with pytest.raises(SourceError, match=r"has no model 'resnet1'\. Did you mean timm:"):
        find("timm:resnet1")
