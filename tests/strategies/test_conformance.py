"""Every strategy, carried out on an image and a text source over every kind of task."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from regraft.engine import execute
from regraft.engine.patterns import HEAD, block_of
from tests.engine.conftest import Bench

STRATEGIES = {
    "probe": ((), {HEAD}),
    "lpft:2": (("stop.epochs=1", "stop.keep=last"), None),
    "full": (("stop.epochs=1", "stop.keep=last", "stop.steps=1"), None),
    "wise-ft:0.5": (("stop.epochs=1", "stop.keep=last"), None),
    "scratch": (("stop.epochs=1", "stop.keep=last", "stop.steps=1"), None),
}


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kind", ["images", "texts"])
def test_a_strategy_fits_every_kind_of_task(kind: str, strategy: str, request: pytest.FixtureRequest) -> None:
    bench: Bench = request.getfixturevalue(kind)
    changes, moved = STRATEGIES[strategy]
    plan = bench.plan(strategy, *changes)
    work = bench.open(plan)
    model = work.models["student"]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    execute(work)

    lines = work.history.lines
    losses = [line["loss"] for line in lines if line["kind"] == "train"]
    scores = [score for line in lines if line["kind"] == "solve" for score in line["scores"]]
    assert losses or scores
    assert np.isfinite([*losses, *scores]).all()

    logits = work.logits(bench.target.test)
    for spec in bench.target.tasks:
        outputs = 1 if spec.kind == "regression" else len(spec.classes)
        assert logits[spec.name].shape == (len(bench.target.test), outputs)
        assert np.isfinite(logits[spec.name]).all()
        decoded = work.tasks[spec.name].decode(work.tasks[spec.name].scores(logits[spec.name]))
        assert len(decoded) == len(bench.target.test)

    changed = {block_of(model, n) for n, t in model.state_dict().items() if not torch.equal(t, before[n])}
    expected = moved or trained_blocks(bench, strategy)
    assert changed == expected
    if strategy == "probe":
        assert work.trained_parameters == sum(p.numel() for p in model.heads.parameters())


def trained_blocks(bench: Bench, strategy: str) -> set[str]:
    trunk = bench.link().blueprint.skeleton().trunk
    owners = {trunk.block_of(name) for name, _ in trunk.network.named_parameters()}
    blocks = [name for name in trunk.block_names if name in owners]
    last = {"lpft:2": 2, "wise-ft:0.5": 3}.get(strategy, len(blocks))
    return {*blocks[-last:], HEAD}


def without_regression(bench: Bench) -> list[str]:
    return [spec.name for spec in bench.target.tasks if spec.kind != "regression"]


@pytest.mark.parametrize("kind", ["images", "texts"])
def test_a_logistic_probe_fits_every_output_with_classes(kind: str, request: pytest.FixtureRequest) -> None:
    bench: Bench = request.getfixturevalue(kind)
    names = without_regression(bench)
    work = bench.open(bench.plan("probe:logistic", f"outputs={names}"))
    model = work.models["student"]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    execute(work)
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {f"heads.output_{name}.{part}" for name in names for part in ("weight", "bias")}
    lines = {line["output"]: line for line in work.history.lines} if "output" in work.history.lines[0] else {}
    assert not lines or set(lines) == set(names)
    assert all(math.isfinite(score) for line in work.history.lines for score in line["scores"])
