"""Networks for tests in several processes: small, with random weights, built alike in all of them."""

from __future__ import annotations

import os
import signal
from collections import OrderedDict

import torch
from torch import Tensor, nn


class Residual(nn.Module):
    """Two convolutions beside the identity."""

    def __init__(self, width: int):
        super().__init__()
        self.out = nn.Conv2d(width, width, 3, padding=1)
        self.back = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.back(torch.relu(self.out(x)))


class Patches(nn.Module):
    """Pictures as tokens, with a position table that is no layer's."""

    def __init__(self, width: int):
        super().__init__()
        self.cut = nn.Conv2d(3, width, 8, stride=8)
        self.positions = nn.Parameter(0.02 * torch.randn(1, 16, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.cut(x).flatten(2).transpose(1, 2) + self.positions


class Mean(nn.Module):
    """The mean token."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)


class Failing(Residual):
    """Gives no numbers when rank 1 trains it for the third time."""

    def __init__(self, width: int):
        super().__init__(width)
        self.times = 0

    def forward(self, x: Tensor) -> Tensor:
        self.times += self.training
        given = super().forward(x)
        return given * float("nan") if self.times > 2 and os.environ.get("RANK") == "1" else given


class Stopping(Residual):
    """Gets Ctrl-C in rank 1 at its seventh run in training mode: in the fifth step."""

    def __init__(self, width: int):
        super().__init__(width)
        self.times = 0

    def forward(self, x: Tensor) -> Tensor:
        self.times += self.training
        if self.times == 7 and self.training and os.environ.get("RANK") == "1":
            os.kill(os.getpid(), signal.SIGINT)
        return super().forward(x)


class Tight(Residual):
    """Runs out of memory where rank 1 trains it on more than four examples at once."""

    def forward(self, x: Tensor) -> Tensor:
        if x.requires_grad and len(x) > 4 and os.environ.get("RANK") == "1":
            raise torch.OutOfMemoryError("out of memory")
        return super().forward(x)


class Normed(nn.Module):
    """Mean features, which batch norm in training cannot use of one example."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.mean((2, 3)))


def build_convolutional() -> nn.Sequential:
    """A stem with batch norm and two residual blocks."""
    stem = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2), nn.BatchNorm2d(16), nn.ReLU())
    return nn.Sequential(OrderedDict(stem=stem, first=Residual(16), second=Residual(16)))


def build_transformer() -> nn.Sequential:
    """Two layers with layer norm and no dropout."""
    layers = [nn.TransformerEncoderLayer(16, 2, 32, 0.0, batch_first=True) for _ in range(2)]
    return nn.Sequential(OrderedDict(stem=Patches(16), first=layers[0], second=layers[1], pool=Mean()))


def build_failing() -> nn.Sequential:
    """The convolutional one, which fails in one process of two."""
    network = build_convolutional()
    network.second = Failing(16)
    return network


def build_stopping() -> nn.Sequential:
    """The convolutional one, which is interrupted in one process of two."""
    network = build_convolutional()
    network.second = Stopping(16)
    return network


def build_tight() -> nn.Sequential:
    """The convolutional one, in one process of two with little memory."""
    network = build_convolutional()
    network.second = Tight(16)
    return network


def build_normed() -> nn.Sequential:
    """The convolutional one with features that are normed."""
    network = build_convolutional()
    network.add_module("normed", Normed(16))
    return network
