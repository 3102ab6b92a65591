"""Small networks of the tests' own, whose order is known, and a target to rank them on."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from regraft.core.preprocessing import ImagePreprocessing
from regraft.sources import Source, from_module
from regraft.targets import Target

STEPS = ImagePreprocessing(size=(16, 16), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), crop_fraction=1.0)


class Broken(nn.Conv2d):
    """A convolution that gives numbers that are not finite."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) * float("nan")


def network(first: nn.Module, *, whole: bool, width: int) -> nn.Sequential:
    """Where the pixels are, or only how many of each colour."""
    flat: nn.Module = nn.Flatten() if whole else nn.Identity()
    last = nn.Conv2d(width, width, 1)
    return nn.Sequential(OrderedDict(first=first, act=nn.ReLU(), pool=nn.AvgPool2d(2), last=last, flat=flat))


def made(name: str, kind: type[nn.Conv2d] = nn.Conv2d, *, whole: bool = True, width: int = 8) -> Source:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return from_module(network(kind(3, width, 3), whole=whole, width=width), STEPS, name=name)


@pytest.fixture(scope="session")
def source() -> Callable[..., Source]:
    """Makes a source: ``whole=False`` sees no shapes, and equal arguments give equal weights."""
    return made


@pytest.fixture(scope="session")
def digits() -> Target:
    """500 digits, a fifth of them the test part."""
    found = load_digits()
    pixels = (found.images[:500] * 15.9).astype(np.uint8)
    return Target.from_arrays(pixels, found.target[:500].astype(str))
