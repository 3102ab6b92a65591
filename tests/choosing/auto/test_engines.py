"""A race whose trials another process carries out: the same choice, to the bit."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

import regraft as rg
from regraft.api.auto import choose_plan
from regraft.choosing.auto import Choice
from regraft.core.deadline import Deadline
from regraft.core.preprocessing import ImagePreprocessing
from regraft.sources import from_module
from regraft.targets import Target

SETTINGS = rg.Settings("cpu", threads=1, backend="eager")
STEPS = ImagePreprocessing(size=(8, 8), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), crop_fraction=1.0)


def untimed(choice: Choice) -> Choice:
    """A choice without what the clock decides."""
    rows = tuple(replace(row, seconds=0.0) for row in choice.rows)
    return replace(choice, rows=rows, predicted_seconds=0.0, race_seconds=0.0, final_seconds=0.0)


def test_a_process_races_to_the_same_choice(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    monkeypatch.setattr("regraft.api.auto.names_in_order", lambda per_class, joint: ("probe", "lpft"))
    monkeypatch.setattr("regraft.choosing.auto.race.MOST_FOLDS", 2)
    monkeypatch.setattr("regraft.choosing.auto.race.UNLIKELY", 0.0)  # nobody drops out
    digits = load_digits(n_class=4)
    target = Target.from_arrays(
        (digits.images[:120] * 15.9).astype(np.uint8), digits.target[:120].astype(str)
    )
    torch.manual_seed(0)
    layers = OrderedDict(first=nn.Conv2d(3, 6, 3), act=nn.ReLU(), last=nn.Conv2d(6, 6, 3), flat=nn.Flatten())
    link = rg.link(from_module(nn.Sequential(layers), STEPS, name="own"), target)
    found = []
    for engine in ("local", "processes:1"):
        monkeypatch.setenv("REGRAFT_CACHE", str(tmp_path_factory.mktemp("cache")))
        deadline = Deadline(1200.0)
        found.append(
            choose_plan(
                link, target, deadline=deadline, settings=SETTINGS, changes=["stop.epochs=2"], engine=engine
            )
        )
    local, parallel = found
    assert untimed(parallel.choice) == untimed(local.choice)
    assert {row.folds for row in local.choice.rows} == {2}
    assert parallel.plan == local.plan
