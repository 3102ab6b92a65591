"""A source with real weights, and a small one whose weights are made up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from regraft.core.preprocessing import ImagePreprocessing
from regraft.core.task_spec import TaskSpec
from regraft.linking import Blueprint
from regraft.sources import Source, find
from regraft.tasks import make_task

CLASSES = ("cat", "dog", "Emu ", "fox")


@pytest.fixture(scope="session")
def lite0() -> Source:
    return find("packaged:efficientnet-lite0", size=64)


@pytest.fixture
def blueprint() -> Callable[..., Blueprint]:
    """A blueprint with one multiclass output."""

    def make(source: Source, *classes: str) -> Blueprint:
        spec = TaskSpec("label", "multiclass", classes or ("a", "b", "c"))
        return Blueprint(source, (make_task(spec),))

    return make


def build() -> nn.Module:
    """A small network with a classifier."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 4),
    )


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Source]:
    """Saves tensors as a checkpoint of the small network and gives the source."""

    def make(tensors: dict[str, torch.Tensor]) -> Source:
        path = tmp_path / "weights.safetensors"
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
        steps = ImagePreprocessing(size=(12, 12))
        return find(f"file:{path}", builder=build, preprocessing=steps, head="5", classes=CLASSES)

    return make


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    """Weights of the small network, batch-norm statistics included."""
    generator = torch.Generator().manual_seed(0)
    state = build().state_dict()
    drawn = {name: torch.rand(tensor.shape, generator=generator) for name, tensor in state.items()}
    return drawn | {"1.num_batches_tracked": torch.tensor(7)}
