"""Decisions: rows of equal shape that are wrong are put right by running both networks."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from regraft.linking import Link
from regraft.linking.origin import Origin
from regraft.linking.proving.decide import decide
from regraft.linking.recipe import Recipe
from regraft.linking.row import Row
from regraft.linking.whole import WholeBlueprint


class Attention(nn.Module):
    """One attention; ``order`` says how its fused projection is read."""

    def __init__(self, order: str = "qkv"):
        super().__init__()
        self.order = order
        self.qkv, self.proj = nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        parts = dict(zip(self.order, self.qkv(x).chunk(3, -1), strict=True))
        given: Tensor = self.proj(
            nn.functional.scaled_dot_product_attention(*(parts[name] for name in "qkv"))
        )
        return given


class Apart(nn.Module):
    """The same with three projections."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.proj = (nn.Linear(8, 8) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        given: Tensor = nn.functional.scaled_dot_product_attention(self.q(x), self.k(x), self.v(x))
        return self.proj(given)


def chain() -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(5):
        layers += [nn.Conv1d(6, 6, 3, padding=1), nn.BatchNorm1d(6), nn.GELU()]
    return nn.Sequential(*layers)


def square() -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 8))


def drawn(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(torch.rand(tensor.shape, generator=generator) * 0.5)
    return module.eval()


def wrong_link(source: nn.Module, build: Callable[[], nn.Module], keys: dict[str, str]) -> Link:
    state = source.state_dict()
    blueprint = WholeBlueprint("target", build)
    rows = []
    for slot in blueprint.slots():
        key = keys.get(slot.name, slot.name)
        shape = tuple(state[key].shape)
        rows.append(
            Row(slot.name, key, "order", "", slot.shape, shape, "copied", "shared", 0.4, kind=slot.kind)
        )
    return Link(Origin("source", module=source), blueprint, tuple(rows))


def test_layers_of_equal_shape_are_put_back() -> None:
    """Convolutions in a cycle, and norms whose weight and bias changed places."""
    cycle = {"0": "6", "6": "12", "12": "0"}
    keys = {f"{to}.{leaf}": f"{of}.{leaf}" for to, of in cycle.items() for leaf in ("weight", "bias")}
    keys |= {"4.weight": "4.bias", "4.bias": "4.weight"}
    link = wrong_link(drawn(chain()), chain, keys)
    given = torch.randn(2, 6, 16)
    assert not link.verify(given).proven
    decided = decide(link, (given,))
    assert decided.verify(given).proven
    assert all(row.source == row.target for row in decided.rows)
    changed = [row for row in decided.rows if row.rule.startswith("comparison: ")]
    assert {row.target for row in changed} == set(keys)
    assert {row.confidence for row in changed} == {1.0}
    assert all(keys[row.target] in row.alternatives for row in changed if row.target.startswith("4."))


@pytest.mark.parametrize("order", ["".join(one) for one in itertools.permutations("qkv")][1:])
def test_q_k_and_v_in_any_order(order: str) -> None:
    link = wrong_link(drawn(Attention(order)), Attention, {})
    given = torch.randn(2, 5, 8)
    assert not link.verify(given).proven
    decided = decide(link, (given,))
    assert decided.verify(given).proven
    row = next(row for row in decided.rows if row.target == "qkv.weight")
    assert (row.action, row.transform) == ("adapted", "rows reordered")
    assert row.rule == "comparison: q, k and v in another order"


def test_q_k_and_v_kept_apart() -> None:
    keys = {f"{to}.{leaf}": f"{of}.{leaf}" for to, of in ("qk", "kv", "vq") for leaf in ("weight", "bias")}
    given = torch.randn(2, 5, 8)
    link = wrong_link(drawn(Apart()), Apart, keys)
    assert decide(link, (given,)).verify(given).proven


def test_a_square_is_turned() -> None:
    source = drawn(square())
    given = torch.randn(3, 8)
    link = wrong_link(source, square, {})
    turned = [
        replace(
            row,
            recipe=Recipe((row.target,)).then("permute", dims=[1, 0]),
            action="adapted",
            transform="transposed",
        )
        if row.target == "2.weight"
        else row
        for row in link.rows
    ]
    decided = decide(replace(link, rows=tuple(turned)), (given,))
    row = next(row for row in decided.rows if row.target == "2.weight")
    assert (row.recipe, row.action, row.transform) == (None, "copied", "")
    assert decided.verify(given).proven


def test_what_is_right_or_hopeless_comes_back_as_it_is() -> None:
    given = torch.randn(3, 8)
    right = wrong_link(drawn(square()), square, {})
    assert decide(right, (given,)) is right
    other = wrong_link(
        drawn(square()), lambda: nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8)), {}
    )
    decided = decide(other, (given,))
    assert not decided.verify(given).proven
    assert decided is other
    file = Link(Origin("file", file=None), right.blueprint, right.rows)
    assert decide(file, (given,)) is file
