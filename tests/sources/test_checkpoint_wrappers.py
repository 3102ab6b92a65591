"""What training code wraps around a state dict is taken off, and said."""

from __future__ import annotations

import argparse
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from regraft.core.errors import SourceError
from regraft.sources import Checkpoint, open_checkpoint
from regraft.sources.checkpoint import strip_wrappers


def state(value: float = 1.0) -> dict[str, Tensor]:
    return {"stem.weight": torch.full((2, 3), value), "head.bias": torch.full((2,), value)}


def saved(folder: Path, content: Any) -> Path:
    torch.save(content, folder / "weights.pth")
    return folder / "weights.pth"


def value(checkpoint: Checkpoint) -> float:
    assert checkpoint.names() == tuple(state())
    return checkpoint.read("head.bias")[0].item()


@pytest.mark.parametrize("container", ["state_dict", "model", "model_state_dict", "params", "net", "student"])
def test_containers(tmp_path: Path, container: str) -> None:
    path = saved(tmp_path, {container: state(), "epoch": 3, "best": [1.0], "name": "x"})
    checkpoint = open_checkpoint(path)
    assert value(checkpoint) == 1.0
    assert checkpoint.notes == (f"took the tensors under {container!r}",)


@pytest.mark.parametrize("averaged", ["model_ema", "ema", "state_dict_ema", "ema_state_dict", "params_ema"])
def test_the_averaged_copy_is_preferred(tmp_path: Path, averaged: str) -> None:
    path = saved(tmp_path, {"state_dict": state(1.0), averaged: {"module": state(2.0), "decay": 0.9}})
    checkpoint = open_checkpoint(path)
    assert value(checkpoint) == 2.0
    assert checkpoint.notes[0] == (
        f"took the tensors under {averaged!r}, the averaged copy that evaluates, not under 'state_dict'"
    )
    asked = open_checkpoint(path, prefer="state_dict")
    assert value(asked) == 1.0
    assert asked.notes == ("took the tensors under 'state_dict' as asked",)


@pytest.mark.parametrize("empty", [None, {}, {"decay": 0.9}])
def test_an_averaged_copy_without_tensors_is_none(tmp_path: Path, empty: Any) -> None:
    assert value(open_checkpoint(saved(tmp_path, {"model": state(), "model_ema": empty}))) == 1.0


def test_teacher_and_student(tmp_path: Path) -> None:
    path = saved(tmp_path, {"student": state(1.0), "teacher": state(2.0)})
    assert value(open_checkpoint(path)) == 2.0
    assert value(open_checkpoint(path, prefer="student")) == 1.0
    with pytest.raises(SourceError, match=r"no tensors under 'expert' \(prefer='expert'\); it holds student"):
        open_checkpoint(path, prefer="expert")


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_prefixes_of_every_name(tmp_path: Path, prefix: str) -> None:
    wrapped = {f"{prefix}{name}": tensor for name, tensor in state().items()}
    save_file(wrapped, tmp_path / "w.safetensors")
    for path in (saved(tmp_path, wrapped), tmp_path / "w.safetensors"):
        checkpoint = open_checkpoint(path)
        assert set(checkpoint) == set(state())
        assert len(checkpoint.notes) == prefix.count(".")
    assert list(strip_wrappers(wrapped)) == list(state())


def test_a_prefix_of_some_names_stays(tmp_path: Path) -> None:
    mixed = {"module.a": torch.ones(1), "b": torch.ones(1), "model.c": torch.ones(1)}
    assert open_checkpoint(saved(tmp_path, mixed)).names() == tuple(mixed)
    models = {"model.a": torch.ones(1), "model.b": torch.ones(1)}
    assert open_checkpoint(saved(tmp_path, models)).names() == tuple(models)


def test_an_averaged_model_of_torch(tmp_path: Path) -> None:
    averaged = AveragedModel(nn.Linear(2, 2))
    assert open_checkpoint(saved(tmp_path, averaged.state_dict())).names() == ("weight", "bias")


def test_lightning_calls_its_network_model(tmp_path: Path) -> None:
    held = {f"model.{name}": tensor for name, tensor in state().items()}
    checkpoint = open_checkpoint(saved(tmp_path, {"pytorch-lightning_version": "2.0", "state_dict": held}))
    assert value(checkpoint) == 1.0
    assert checkpoint.notes[-1] == "stripped 'model.' from every name"


def test_nested_dicts_are_flattened(tmp_path: Path) -> None:
    layer = {"kernel": torch.ones(2), "bias": torch.ones(1)}
    content = {"params": {"Dense_0": layer}, "batch_stats": {"Norm_0": {"mean": torch.ones(1)}}}
    names = ("params.Dense_0.kernel", "params.Dense_0.bias", "batch_stats.Norm_0.mean")
    assert open_checkpoint(saved(tmp_path, content)).names() == names
    only = open_checkpoint(saved(tmp_path, {"params": {"Dense_0": layer, 3: layer}}))
    assert only.names() == ("Dense_0.kernel", "Dense_0.bias", "3.kernel", "3.bias")


def test_what_lies_beside_the_weights_is_passed_over(tmp_path: Path) -> None:
    """Settings whose classes torch's own safe reader refuses are read past; nothing of them is run."""
    content = {
        "model": OrderedDict(state()),
        "args": argparse.Namespace(lr=0.1, path=Path("x")),
        "best": np.float64(0.5),
        "numbers": np.ones(3),
        "optimizer": {"state": {0: {"step": torch.ones(1)}}, "param_groups": [{"lr": 0.1}]},
        ("a", "b"): {1, 2},
    }
    for zipped in (True, False):
        torch.save(content, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
        assert value(open_checkpoint(tmp_path / "w.pt")) == 1.0


def test_a_finished_run_is_its_trunk_and_heads(tmp_path: Path) -> None:
    run = {"trunk.network.a": torch.ones(1), "heads.label.weight": torch.ones(2)}
    save_file(run, tmp_path / "model.safetensors")
    assert set(open_checkpoint(tmp_path)) == {"a", "heads.label.weight"}
