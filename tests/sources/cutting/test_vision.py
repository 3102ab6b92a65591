"""Architectures of timm and torchvision, small and with random weights, cut by their graphs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from regraft.sources import timm, torchvision

pytestmark = pytest.mark.vision

SWIN = {"img_size": 56, "embed_dim": 8, "depths": (2, 2), "num_heads": (1, 2), "drop_path_rate": 0.2}


@pytest.mark.parametrize(
    ("name", "arguments", "size", "blocks"),
    [
        ("swin_tiny_patch4_window7_224", SWIN, 56, 7),
        ("regnetx_002", {"drop_path_rate": 0.2}, 32, 12),
        ("densenet121", {"block_config": (2, 2), "growth_rate": 4}, 64, 4),
        ("vgg11", {}, 32, 8),
        ("poolformer_s12", {"drop_path_rate": 0.2}, 32, 13),
        ("mixer_s32_224", {"img_size": 64, "drop_path_rate": 0.2}, 64, 9),
        ("mobilevit_xxs", {}, 64, 7),
        ("ghostnet_050", {"drop_rate": 0.2}, 32, 9),
    ],
)
def test_timm(name: str, arguments: dict[str, Any], size: int, blocks: int, cutting: SimpleNamespace) -> None:
    torch.manual_seed(0)
    trunk = timm.build(model=name, arguments=arguments)
    cutting.check(trunk, cutting.image_steps(size))
    assert len(trunk.blocks) >= blocks


@pytest.mark.parametrize(
    ("name", "size", "blocks"),
    [
        ("mobilenet_v2", 32, 15),
        ("mnasnet0_5", 32, 8),
        ("shufflenet_v2_x0_5", 32, 15),
        ("googlenet", 32, 10),
    ],
)
def test_torchvision(name: str, size: int, blocks: int, cutting: SimpleNamespace) -> None:
    torch.manual_seed(0)
    trunk = torchvision.build(model=name, arguments={})
    cutting.check(trunk, cutting.image_steps(size))
    assert len(trunk.blocks) >= blocks
