"""Layers told apart by what they compute, and patterns that name just some of them."""

from __future__ import annotations

import pytest
from torch import nn

from regraft.sources.layers import attention_layers, fold_paths, is_pointwise


@pytest.mark.parametrize(
    ("paths", "others", "patterns"),
    [
        (["layer.0.q", "layer.1.q", "layer.2.q"], ["layer.0.k"], ("layer.{0..2}.q",)),
        (["layer.0.q", "layer.2.q"], ["layer.1.k"], ("layer.{0..2}.q",)),
        (["layer.0.q", "layer.2.q"], ["layer.1.q"], ("layer.0.q", "layer.2.q")),
        (["s.0.0.a", "s.0.1.a", "s.1.0.a"], ["", "s", "s.2"], ("s.{0..1}.{0..1}.a",)),
        (["stem.0"], ["", "stem.1"], ("stem.0",)),
        (["a1", "a2"], [], ("a1", "a2")),
        ([], ["a"], ()),
    ],
)
def test_a_pattern_names_these_paths_and_no_other(
    paths: list[str], others: list[str], patterns: tuple[str, ...]
) -> None:
    assert fold_paths(paths, [*paths, *others]) == patterns


class SelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.norm = nn.Linear(4, 4), nn.LayerNorm(4)


def test_attention_is_told_by_the_names_of_classes_and_modules() -> None:
    network = nn.ModuleDict(
        {
            "one": SelfAttention(),
            "attn": nn.Sequential(nn.Linear(4, 4), nn.ReLU()),
            "torchs": nn.MultiheadAttention(4, 2),
            "other": nn.Linear(4, 4),
        }
    )
    assert attention_layers(network) == ("one.query", "attn.0")


def test_pointwise_is_one_pixel_to_one_pixel() -> None:
    assert is_pointwise(nn.Conv2d(2, 2, 1))
    assert not is_pointwise(nn.Conv2d(2, 2, 1, stride=2))
    assert not is_pointwise(nn.Conv2d(2, 2, 3))
    assert not is_pointwise(nn.Linear(2, 2))
