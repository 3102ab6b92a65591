"""Graphs: operators, what feeds attention in which order, networks without memory, what runs through."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertConfig, BertModel, GPT2Config, GPT2Model, ViTConfig, ViTModel

from regraft.linking.network import Call, Network, block_free
from regraft.linking.tracing.graph import Graph, trace
from regraft.sources.skeleton import weightless


def network(module: nn.Module, *args: Any, **kwargs: Any) -> Network:
    names = {name: name for name in module.state_dict()}
    return Network(module.eval(), names, Call(args, kwargs), block_free)


def graph_of(module: nn.Module, *args: Any, **kwargs: Any) -> Graph:
    graph = trace(network(module, *args, **kwargs))
    assert graph is not None
    return graph


class Convolutional(nn.Module):
    """Asymmetric padding, a norm, a branch, a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(8, eps=1e-3)
        self.deep = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.scale = nn.Parameter(torch.full((8, 1, 1), 0.5))
        self.head = nn.Linear(8, 5)

    def forward(self, pixels: Tensor) -> Tensor:
        x = functional.hardswish(self.norm(self.stem(functional.pad(pixels, (0, 1, 0, 1)))))
        x = x + self.deep(x) * self.scale
        given: Tensor = self.head(x.mean((2, 3)))
        return given


def test_operators_hang_together() -> None:
    stem, norm, deep, scale, head = graph_of(Convolutional(), torch.randn(1, 3, 8, 8)).operators
    assert [stem.kind, norm.kind, deep.kind, head.kind] == ["conv", "batch_norm", "conv", "linear"]
    assert scale.kind == "table:mul"
    assert dict(stem.tensors) == {"weight": "stem.weight"}
    assert norm.tensors["running_var"] == "norm.running_var"
    assert norm.tensors["weight"] == "norm.weight"
    assert list(scale.tensors.values()) == ["scale"]
    assert dict(head.tensors) == {"weight": "head.weight", "bias": "head.bias"}
    assert (stem.before, stem.after) == ((), (norm.name,))
    assert norm.after[0] == deep.name
    assert set(head.before) == {norm.name, scale.name}
    assert (stem.depth, norm.depth, deep.depth, scale.depth, head.depth) == (0, 1, 2, 3, 4)
    assert deep.attributes["groups"] == 8
    assert norm.attributes["eps"] == 1e-3
    assert head.attributes["orientation"] == "oi"
    assert not any(operator.part for operator in (stem, norm, deep, head))


class Fused(nn.Module):
    """Attention with q, k and v in one layer, its rows in the order that ``layout`` says."""

    def __init__(self, layout: str, heads: int = 2, width: int = 3):
        super().__init__()
        self.layout, self.heads, self.width = layout, heads, width
        self.all = nn.Linear(heads * width, 3 * heads * width)

    def forward(self, x: Tensor) -> Tensor:
        batch, count, _ = x.shape
        made = self.all(x)
        if self.layout == "thirds":
            parts = made.reshape(batch, count, 3, self.heads, self.width).permute(2, 0, 3, 1, 4)
        elif self.layout == "by head":
            parts = made.reshape(batch, count, self.heads, 3, self.width).permute(3, 0, 2, 1, 4)
        else:
            parts = made.reshape(batch, count, self.heads, self.width, 3).permute(4, 0, 2, 1, 3)
        query, key, value = parts
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return mixed.transpose(1, 2).reshape(batch, count, -1)


@pytest.mark.parametrize(
    ("layout", "queries", "values"),
    [
        ("thirds", (0, 1, 2, 3, 4, 5), (12, 13, 14, 15, 16, 17)),
        ("by head", (0, 1, 2, 9, 10, 11), (6, 7, 8, 15, 16, 17)),
        ("innermost", (0, 3, 6, 9, 12, 15), (2, 5, 8, 11, 14, 17)),
    ],
)
def test_rows_of_a_fused_layer_are_read_off_the_network(
    layout: str, queries: tuple[int, ...], values: tuple[int, ...]
) -> None:
    (operator,) = graph_of(Fused(layout), torch.randn(1, 4, 6)).operators
    assert operator.part == "qkv"
    assert operator.rows["q"] == queries
    assert operator.rows["v"] == values


def test_fused_rows_are_those_that_separate_layers_have() -> None:
    """What the rows say is true: cut by them, three layers compute what the fused one does."""
    for layout in ("thirds", "by head", "innermost"):
        fused, apart = Fused(layout), Separate()
        (operator,) = graph_of(fused, torch.randn(1, 4, 6)).operators
        with torch.no_grad():
            for part, layer in zip("qkv", (apart.query, apart.key, apart.value), strict=True):
                layer.weight.copy_(fused.all.weight[list(operator.rows[part])])
                layer.bias.copy_(fused.all.bias[list(operator.rows[part])])
            x = torch.randn(2, 5, 6)
            torch.testing.assert_close(apart(x), fused(x))


class Separate(nn.Module):
    """Attention written out, with a product before a softmax and one behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(6, 6) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        cut = [layer(x).unflatten(-1, (2, 3)).transpose(1, 2) for layer in (self.query, self.key, self.value)]
        scores = torch.softmax(cut[0] @ cut[1].transpose(-1, -2) * 3**-0.5, dim=-1)
        return (scores @ cut[2]).transpose(1, 2).flatten(2)


def test_separate_layers_are_told_apart_by_what_reads_them() -> None:
    operators = graph_of(Separate(), torch.randn(1, 4, 6)).operators
    assert {operator.tensors["weight"]: operator.part for operator in operators} == {
        "query.weight": "q",
        "key.weight": "k",
        "value.weight": "v",
    }
    assert operators[0].rows == {"q": tuple(range(6))}


def test_libraries_networks_give_their_attention_away() -> None:
    vit = ViTModel(
        ViTConfig(
            hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, image_size=32
        )
    )
    parts = [
        operator.part for operator in graph_of(vit, torch.randn(1, 3, 32, 32)).operators if operator.part
    ]
    assert parts == ["q", "k", "v"] * 2
    gpt = GPT2Model(GPT2Config(n_embd=8, n_layer=1, n_head=2, vocab_size=20, n_positions=16))
    ids = torch.arange(6)[None]
    operators = graph_of(gpt, input_ids=ids, use_cache=False).operators
    (fused,) = [operator for operator in operators if operator.part]
    assert (fused.part, fused.attributes["orientation"]) == ("qkv", "io")
    assert fused.rows["k"] == tuple(range(8, 16))


def test_torchs_own_attention_is_fused() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation="gelu")
    parts = {
        operator.part: operator.tensors["weight"]
        for operator in graph_of(layer, torch.randn(1, 4, 8)).operators
        if operator.part
    }
    assert parts == {"qkv": "self_attn.in_proj_weight"}


def test_a_network_without_memory_has_the_same_operators() -> None:
    config = BertConfig(
        hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, vocab_size=50
    )
    ids = torch.arange(6)[None]
    real = graph_of(BertModel(config), input_ids=ids)
    with weightless():
        skeleton = BertModel(config)
    fake = graph_of(skeleton, input_ids=ids)
    assert fake.operators == real.operators
    assert all(parameter.is_meta for parameter in skeleton.parameters()), (
        "the skeleton itself stays as it was"
    )


def test_what_does_not_export_is_said_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            given: Tensor = self.one(x) if x.sum() > 0 else x
            return given

    with caplog.at_level(logging.INFO, logger="regraft.linking.tracing.graph"):
        assert trace(network(Branching(), torch.ones(1, 2))) is None
    assert "Branching does not export" in caplog.text
