"""Networks of a user's own: an old one, and the one that it lives on in, with a block more."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn


class Residual(nn.Module):
    """Two convolutions beside the identity."""

    def __init__(self, width: int):
        super().__init__()
        self.out = nn.Conv2d(width, width, 3, padding=1)
        self.back = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.back(torch.relu(self.out(x)))


def build_old() -> nn.Sequential:
    """Three blocks."""
    stem = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2), nn.BatchNorm2d(16), nn.ReLU())
    return nn.Sequential(OrderedDict(stem=stem, first=Residual(16), second=Residual(16)))


def build_grown() -> nn.Sequential:
    """Four blocks: ``added`` is between those that there were."""
    old = dict(build_old().named_children())
    return nn.Sequential(
        OrderedDict(stem=old["stem"], first=old["first"], added=Residual(16), second=old["second"])
    )


def build_four_channels() -> nn.Sequential:
    """The old network for pictures of four channels."""
    network = build_old()
    network.stem[0] = nn.Conv2d(4, 16, 3, stride=2)
    return network
