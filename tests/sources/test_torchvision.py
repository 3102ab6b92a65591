"""Chains equal torchvision's own networks; random weights, so that nothing has to be fetched."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from regraft.core.errors import SourceError
from regraft.sources import build_trunk, example_batch, find

pytestmark = pytest.mark.vision


@pytest.mark.parametrize(
    ("name", "blocks", "head"),
    [
        ("resnet18", 10, "fc"),
        ("mobilenet_v3_small", 14, "classifier.3"),
        ("efficientnet_b0", 10, "classifier.1"),
        ("convnext_tiny", 9, "classifier.2"),
        ("vit_b_16", 15, "heads.head"),
        ("mobilenet_v2", 20, "classifier.1"),
    ],
)
def test_chain(name: str, blocks: int, head: str, exactness: SimpleNamespace) -> None:
    source = find(f"torchvision:{name}", pretrained=False)
    torch.manual_seed(0)
    trunk, batch = build_trunk(source).eval(), example_batch(source, count=1)
    with torch.no_grad():
        assert torch.equal(trunk(batch), trunk.network(batch["pixels"]))
    assert len(trunk.blocks) == blocks
    assert source.head == (f"{head}.weight", f"{head}.bias")
    assert len(source.classes) == 1000
    exactness.assert_cuts_are_exact(trunk, batch, every=7)
    exactness.assert_owned_once(trunk)
    exactness.assert_meta(source)


def test_unknown_and_unfit_models() -> None:
    with pytest.raises(SourceError, match=r"has no classifier 'resnet19'\. Did you mean torchvision:resnet"):
        find("torchvision:resnet19")
    with pytest.raises(SourceError, match="SqueezeNet ends in no linear layer"):
        find("torchvision:squeezenet1_0", pretrained=False)
