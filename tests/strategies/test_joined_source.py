"""Strategies on a joined source: two small transformers side by side, and beside a loop written by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from regraft.engine import execute
from regraft.plans import change_plan
from regraft.sources import Source, load_native
from regraft.sources.joined import join
from regraft.sources.registry import complete
from regraft.targets import Target, prepare
from regraft.terms.solvers import solve_ridge
from tests.engine.conftest import Bench
from tests.strategies import tiny
from tests.strategies.conftest import summaries_of_packages
from tests.strategies.parity import Group, Hand, assert_parity, within

PARTS = tuple(f"trunk.network.parts.{number}.network." for number in (0, 1))
EVERYWHERE = ("embeddings", "layer.0", "layer.1", "head")
MOVES = {
    "lpft:1": EVERYWHERE[2:],
    "full": EVERYWHERE,
    "gradual:2": EVERYWHERE,
    "bitfit": EVERYWHERE,
    "lora:2": EVERYWHERE[1:],
    "delta:1": EVERYWHERE[2:],
}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[Source]:
    texts = summaries_of_packages()[0]
    return [tiny.transformer(tmp_path_factory.mktemp(f"bert{seed}"), texts, seed) for seed in (0, 1)]


@pytest.fixture(scope="module")
def bench(pair: list[Source]) -> Bench:
    texts, labels = summaries_of_packages()
    source = complete(join(pair))
    return Bench(
        source, prepare(Target.from_arrays(texts, labels["python"]), source.preprocessing, workers=1)
    )


def test_a_probe_is_a_ridge_on_the_features_of_both(bench: Bench, pair: list[Source]) -> None:
    work = bench.open(bench.plan("probe", "refit=false"))
    execute(work)
    train, task = work.draw.train, work.tasks["label"]
    alone = [Bench(one, bench.prepared).open(Bench(one, bench.prepared).plan("probe")) for one in pair]
    features = np.concatenate([one.features("student", train).numpy() for one in alone], 1)
    expected = solve_ridge(features, work.target.labels(train)["label"], task).calibrated()
    head = work.models["student"].heads["output_label"]
    assert isinstance(head, torch.nn.Linear)
    np.testing.assert_allclose(head.weight.detach().numpy(), expected.weight, rtol=1e-3, atol=1e-4)


def test_lpft_tunes_the_last_layer_of_both(bench: Bench) -> None:
    def loss(hand: Hand) -> Tensor:
        return functional.cross_entropy(hand.logits(), hand.labels["label"])

    last = within(*(f"{part}encoder.layer.1." for part in PARTS))
    groups = [Group(within("heads"), 1e-4), Group(last, 3e-4, 0.01)]
    assert_parity(bench, bench.plan("lpft:1"), groups, loss=loss)


@pytest.mark.parametrize("strategy", MOVES)
def test_strategies_move_their_blocks_in_both_parts(bench: Bench, strategy: str) -> None:
    plan = change_plan(bench.plan(strategy), ["stop.epochs=1", "stop.keep=last"])
    work = bench.open(plan)
    model = work.models["student"]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    execute(work)
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    blocks = {
        part: {model.trunk.block_of(n.removeprefix("trunk.network.")) for n in moved if n.startswith(part)}
        for part in PARTS
    }
    assert blocks == dict.fromkeys(PARTS, set(MOVES[strategy]) - {"head"})
    assert any(name.startswith("heads.") for name in moved)


def test_a_part_that_is_not_tuned_gives_what_it_gave(bench: Bench, pair: list[Source]) -> None:
    """Parameters can be named, so that one part is tuned and the other is left as it was."""
    changes = ["stop.epochs=1", "trainable=parts.1.network.encoder.layer.1.*,head", "frozen_prefix=layer.0"]
    work = bench.open(change_plan(bench.plan("lpft:1"), changes))
    execute(work)
    whole = work.models["student"].trunk.eval()
    batch = work.inputs.batch(np.arange(4))
    with torch.no_grad():
        found, alone = whole(batch), [load_native(one)(batch) for one in pair]
    width = alone[0].shape[1]
    assert torch.equal(found[:, :width], alone[0])
    assert not torch.equal(found[:, width:], alone[1])
