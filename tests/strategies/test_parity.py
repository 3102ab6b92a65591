"""The plain strategies beside PyTorch loops written by hand: the same losses for five steps."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from tests.engine.conftest import Bench
from tests.strategies.parity import Group, assert_parity, begin, cross_entropy, within

NETWORK = "trunk.network."
IS_HEAD = within("heads")


def everything(name: str, module: nn.Module) -> bool:
    return True


@pytest.mark.parametrize("bench", ["pictures", "phrases"], indirect=True)
def test_full(bench: Bench) -> None:
    groups = [Group(IS_HEAD, 1e-3, 0.01), Group(within("trunk"), 3e-4, 0.01)]
    assert_parity(bench, bench.plan("full"), groups, train_mode=everything)


def test_lpft(pictures: Bench) -> None:
    rates = {"stages1": 2.25e-4, "stages2": 3e-4}
    groups = [Group(within(NETWORK + block), rate, 0.01) for block, rate in rates.items()]
    assert_parity(pictures, pictures.plan("lpft:2"), [Group(IS_HEAD, 1e-4), *groups])


def test_partial(pictures: Bench) -> None:
    groups = [Group(IS_HEAD, 1e-3, 0.01), Group(within(NETWORK + "stages2"), 3e-4, 0.01)]
    assert_parity(pictures, pictures.plan("partial:1"), groups)


def test_layer_decay(phrases: Bench) -> None:
    rates = {"embeddings": 2.75e-4, "encoder.layer.0": 4.23e-4, "encoder.layer.1": 6.5e-4}
    groups = [Group(within(NETWORK + block), rate, 0.01) for block, rate in rates.items()]
    assert_parity(
        phrases,
        phrases.plan("layer-decay:0.65"),
        [Group(IS_HEAD, 1e-3, 0.01), *groups],
        train_mode=everything,
    )


@pytest.mark.parametrize("bench", ["pictures", "phrases"], indirect=True)
def test_bitfit(bench: Bench) -> None:
    groups = [Group(IS_HEAD, 1e-4), Group(lambda name: name.endswith(".bias"), 3e-4)]
    assert_parity(bench, bench.plan("bitfit"), groups)


def test_norm_only(phrases: Bench) -> None:
    groups = [Group(IS_HEAD, 1e-4), Group(lambda name: "LayerNorm" in name, 3e-4)]
    assert_parity(phrases, phrases.plan("norm-only"), groups)


def slanted(step: int) -> float:
    """Howard and Ruder 2018, equation 3: 5 steps, of which the first half step is the way up, ratio 32."""
    cut = math.floor(5 * 0.1)
    share = step / cut if step < cut else 1 - (step - cut) / (5 - cut)
    return (1 + share * (32 - 1)) / 32


@pytest.mark.parametrize(
    ("stage", "rates"),
    [
        ("unfreeze-1", {"encoder.layer.1": 3e-4}),
        ("unfreeze-2", {"encoder.layer.0": 1.15e-4, "encoder.layer.1": 3e-4}),
        ("tune", {"embeddings": 4.44e-5, "encoder.layer.0": 1.15e-4, "encoder.layer.1": 3e-4}),
    ],
)
def test_gradual(phrases: Bench, stage: str, rates: dict[str, float]) -> None:
    groups = [Group(within(NETWORK + block), rate, 0.01) for block, rate in rates.items()]
    plan = phrases.plan("gradual")
    assert_parity(phrases, plan, [Group(IS_HEAD, 1e-4), *groups], stage=stage, factor=slanted)


def test_surgical(phrases: Bench) -> None:
    """Lee et al. 2023, Auto-RGN: here every batch is the whole of the training examples."""
    plan = phrases.plan("surgical")
    hand = begin(phrases, plan, "tune")
    blocks = ("embeddings", "encoder.layer.0", "encoder.layer.1")
    cross_entropy(hand).backward()
    clipped = torch.nn.utils.clip_grad_norm_(hand.model.parameters(), 1.0)
    assert clipped > 0
    ratios = []
    for block in blocks:
        inside = [p for name, p in hand.model.named_parameters() if name.startswith(NETWORK + block)]
        pulled = torch.cat([p.grad.flatten() for p in inside if p.grad is not None])
        ratios.append(float(pulled.norm() / torch.cat([p.detach().flatten() for p in inside]).norm()))
    rates = [1e-4 * ratio / max(ratios) for ratio in ratios]
    assert min(rates) < 0.9 * max(rates)
    groups = [Group(within(NETWORK + b), rate, 0.01) for b, rate in zip(blocks, rates, strict=True)]
    assert_parity(phrases, plan, [Group(IS_HEAD, 1e-4), *groups])


def test_a_wrong_rate_is_seen(pictures: Bench) -> None:
    groups = [Group(IS_HEAD, 1e-3, 0.01), Group(within(NETWORK + "stages2"), 3.3e-4, 0.01)]
    with pytest.raises(AssertionError):
        assert_parity(pictures, pictures.plan("partial:1"), groups)


def test_layer_decay_of_one_is_full_fine_tuning_at_one_rate(pictures: Bench) -> None:
    groups = [Group(within("heads", "trunk"), 1e-3, 0.01)]
    assert_parity(pictures, pictures.plan("layer-decay:1"), groups, train_mode=everything)
    assert_parity(pictures, pictures.plan("full", "groups.1.rate=0.001"), groups, train_mode=everything)


@pytest.fixture
def bench(request: pytest.FixtureRequest) -> Bench:
    found: Bench = request.getfixturevalue(request.param)
    return found
