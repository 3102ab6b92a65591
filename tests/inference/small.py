"""A small network of three blocks over made-up pictures, for tests that look at what is kept and how."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from regraft.core.inputs import Batch, View
from regraft.core.randomness import numpy_generator
from regraft.inference import Embedder
from regraft.sources.trunk import Block, Trunk

SIDE = 12


class Pictures:
    """Pictures of noise; a view adds noise of its own."""

    def __init__(self, count: int, *, first: int = 0):
        self.seeds = np.arange(first, first + count)
        self.names = [f"picture {seed}" for seed in self.seeds]
        self.keys = [hashlib.sha256(f"picture {seed}".encode()).hexdigest() for seed in self.seeds]
        self.owners = np.arange(count)
        self.weights = np.ones(count, np.float32)
        self.buckets = np.zeros(count, np.int64)
        self.lengths: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.names)

    def batch(self, pieces: np.ndarray, *, view: View | None = None) -> dict[str, Tensor]:
        pixels = np.stack([self._picture(int(piece), view) for piece in pieces])
        return {"pixels": torch.from_numpy(pixels)}

    def _picture(self, piece: int, view: View | None) -> np.ndarray:
        made = numpy_generator(int(self.seeds[piece]), "picture").standard_normal((3, SIDE, SIDE), np.float32)
        if view is not None:
            made += numpy_generator(view.seed, "view", view.step, self.keys[piece]).standard_normal()
        return made.astype(np.float32)


class Awake(nn.Dropout):
    """Dropout that stays on, as for Monte Carlo estimates."""

    def train(self, mode: bool = True) -> Awake:
        return super().train(True)


class Noisy(nn.Module):
    """Random whatever its mode, in what it calls and not in what it is."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(4, 4, 3)

    def forward(self, values: Tensor) -> Tensor:
        return functional.dropout(self.layer(values), 0.5, training=True)


class Sociable(nn.Module):
    """Looks at its neighbours whatever its mode."""

    def forward(self, values: Tensor) -> Tensor:
        return values - values.mean(0, keepdim=True)


def _run(name: str, network: Any, activation: Tensor | None, inputs: Batch) -> Tensor:
    given: Tensor = getattr(network, name)(inputs["pixels"] if activation is None else activation)
    return given.mean((2, 3)) if name == "last" else given


def small_trunk(middle: nn.Module | None = None, *, scale: float = 1.0) -> Trunk:
    """Convolution, a block of one's own, convolution and pooling to 5 features."""
    torch.manual_seed(0)
    network = nn.ModuleDict()
    network["stem"] = nn.Conv2d(3, 4, 3)
    network["middle"] = middle or nn.Sequential(nn.ReLU(), nn.Conv2d(4, 4, 3))
    network["last"] = nn.Conv2d(4, 5, 3)
    with torch.no_grad():
        network["stem"].weight *= scale
    holder = nn.Module()
    for name, module in network.items():
        holder.add_module(name, module)
    blocks = [Block(name, partial(_run, name), (name,)) for name in network]
    return Trunk(holder, blocks, 5).eval()


def small_embedder(trunk: Trunk, pictures: Pictures, *, cut: int = 2, **options: Any) -> Embedder:
    return Embedder(trunk, pictures, cut=cut, backend="eager", **options)
