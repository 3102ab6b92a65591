"""Two small networks on the engine tests' digits: convolutions with batch norm, and attention."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn

import regraft as rg
from regraft.targets import prepare
from tests.engine.conftest import (
    SIZE,
    Bench,
    bench as bench,  # the digits
)


class Residual(nn.Module):
    """A bottleneck with batch norm beside the identity."""

    def __init__(self, width: int):
        super().__init__()
        self.narrow = nn.Conv2d(width, width // 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(width // 2)
        self.wide = nn.Conv2d(width // 2, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.wide(torch.relu(self.norm(self.narrow(x))))


class Attention(nn.Module):
    """One head of attention, queries, keys and values in one layer."""

    def __init__(self, width: int):
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        return self.proj((q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(-1) @ v)


class Layer(nn.Module):
    """Attention and a feed-forward pair, with norms before them."""

    def __init__(self, width: int):
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(width), Attention(width)
        self.norm2, self.fc1, self.fc2 = (
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.Linear(2 * width, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.fc2(torch.relu(self.fc1(self.norm2(x))))


class Patches(nn.Module):
    """Pictures as tokens."""

    def __init__(self, width: int):
        super().__init__()
        self.cut = nn.Conv2d(3, width, 8, stride=8)

    def forward(self, x: Tensor) -> Tensor:
        return self.cut(x).flatten(2).transpose(1, 2)


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)


def build_attention() -> nn.Module:
    return nn.Sequential(OrderedDict(patches=Patches(16), one=Layer(16), two=Layer(16), mean=Mean()))


def build_convolutional() -> nn.Module:
    stem = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2), nn.BatchNorm2d(16), nn.ReLU())
    return nn.Sequential(OrderedDict(stem=stem, first=Residual(16), second=Residual(16)))


BUILDERS = {"attention": build_attention, "convolutional": build_convolutional}


def small_bench(bench: Bench, kind: str) -> Bench:
    torch.manual_seed(0)
    source = rg.Source.from_module(BUILDERS[kind](), rg.ImagePreprocessing(size=(SIZE, SIZE)), name=kind)
    return Bench(source, prepare(bench.target, source.preprocessing, workers=1))


@pytest.fixture(scope="session")
def attention(bench: Bench) -> Bench:
    """Two layers of attention."""
    return small_bench(bench, "attention")


@pytest.fixture(scope="session")
def convolutional(bench: Bench) -> Bench:
    """A stem and two bottlenecks with batch norm."""
    return small_bench(bench, "convolutional")
