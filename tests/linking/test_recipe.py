"""Recipes: what is done to tensors on their way, checked as properties and against torch's own layers."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor, nn

from regraft.linking.recipe import STEPS, Recipe, Step
from regraft.linking.row import Row

few = settings(max_examples=40, deadline=None)
seeds = st.integers(0, 2**31 - 1)


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def make(recipe: Recipe, *tensors: Tensor, place: Tensor | None = None) -> Tensor:
    return recipe.apply(tensors, torch.empty(()) if place is None else place)


@few
@given(seeds, st.lists(st.integers(1, 4), min_size=2, max_size=5).flatmap(
    lambda shape: st.tuples(st.just(shape), st.permutations(range(len(shape))))
))  # fmt: skip
def test_axes_go_back(seed: int, drawn: tuple[list[int], list[int]]) -> None:
    shape, dims = drawn
    back = [dims.index(axis) for axis in range(len(dims))]
    tensor = draw(seed, *shape)
    there = Recipe(("a",)).then("permute", dims=list(dims))
    assert torch.equal(make(there.then("permute", dims=back), tensor), tensor)
    assert make(there, tensor).is_contiguous()


@few
@given(seeds, st.integers(1, 6).flatmap(lambda count: st.permutations(range(count))), st.integers(0, 2))
def test_rows_go_back(seed: int, picks: list[int], axis: int) -> None:
    shape = [2, 3, 4]
    shape[axis] = len(picks)
    tensor = draw(seed, *shape)
    back = [picks.index(row) for row in range(len(picks))]
    recipe = Recipe(("a",)).then("rows", picks=list(picks), axis=axis)
    place = torch.empty_like(tensor)
    assert torch.equal(make(recipe, tensor, place=place).select(axis, 0), tensor.select(axis, picks[0]))
    assert torch.equal(make(recipe.then("rows", picks=back, axis=axis), tensor, place=place), tensor)


@few
@given(seeds, st.lists(st.integers(-1, 4), min_size=1, max_size=8))
def test_rows_without_a_source_stay(seed: int, picks: list[int]) -> None:
    source, place = draw(seed, 5, 3), draw(seed + 1, len(picks), 3)
    kept = place.clone()
    made = make(Recipe(("a",)).then("rows", picks=picks), source, place=place)
    for row, pick in enumerate(picks):
        assert torch.equal(made[row], source[pick] if pick >= 0 else kept[row])
    assert torch.equal(place, kept), "the place itself is only read"


@few
@given(seeds, st.integers(1, 4), st.integers(1, 3), st.booleans(), st.sampled_from([1e-5, 1e-3, 1e-1]))
def test_a_folded_norm_computes_the_same(
    seed: int, inputs: int, kernel: int, biased: bool, eps: float
) -> None:
    torch.manual_seed(seed)
    layer, norm = nn.Conv2d(inputs, 6, kernel, bias=biased), nn.BatchNorm2d(6, eps=eps).eval()
    with torch.no_grad():
        norm.weight.normal_()
        norm.bias.normal_()
        mean, variance = norm.get_buffer("running_mean").normal_(), norm.get_buffer("running_var")
        variance.uniform_(0.1, 3.0)
    biases = [layer.get_parameter("bias")] if biased else []
    parts = [layer.weight, *biases, norm.weight, norm.bias, mean, variance]
    tensors = [part.detach() for part in parts]
    folded = nn.Conv2d(inputs, 6, kernel)
    names = tuple(map(str, range(len(tensors))))
    with torch.no_grad():
        for part, place in folded.named_parameters():
            recipe = Recipe(names).then("fold_norm", part=part, eps=eps, biased=biased)
            place.copy_(make(recipe, *tensors, place=place))
        pixels = torch.randn(2, inputs, 5, 5)
        expected = norm(layer(pixels))
        difference = (folded(pixels) - expected).abs().max() / expected.abs().max()
    assert difference < 1e-6


@few
@given(seeds, st.integers(1, 6), st.integers(1, 6), st.integers(0, 2))
def test_a_grid_of_the_same_size_stays(seed: int, height: int, width: int, extra: int) -> None:
    table = draw(seed, 1, extra + height * width, 8)
    options = {"size": [height, width], "to": [height, width], "extra": extra, "extra_to": extra}
    assert torch.equal(make(Recipe(("a",)).then("grid", **options), table, place=table), table)


@few
@given(seeds, st.integers(1, 7), st.integers(1, 7), st.integers(1, 7))
def test_a_constant_grid_stays_constant(seed: int, size: int, height: int, width: int) -> None:
    row = draw(seed, 8)
    table = row.expand(1, size * size, 8)
    options = {"size": [size, size], "to": [height, width], "extra": 0, "extra_to": 0}
    made = make(Recipe(("a",)).then("grid", **options), table, place=torch.empty(1, height * width, 8))
    torch.testing.assert_close(made, row.expand(1, height * width, 8))


@pytest.mark.parametrize(("extra", "extra_to"), [(1, 1), (1, 0), (0, 1), (1, 5), (5, 1)])
def test_a_class_token_is_kept_dropped_or_added(extra: int, extra_to: int) -> None:
    table = draw(0, 1, extra + 9, 4)
    options = {"size": [3, 3], "to": [5, 5], "extra": extra, "extra_to": extra_to}
    made = make(Recipe(("a",)).then("grid", **options), table, place=torch.empty(1, extra_to + 25, 4))
    kept = min(extra, extra_to)
    assert torch.equal(made[:, :kept], table[:, :kept])
    assert made[:, kept:extra_to].abs().sum() == 0
    whole = {**options, "extra": 0, "extra_to": 0}
    patches = make(Recipe(("a",)).then("grid", **whole), table[:, extra:], place=torch.empty(1, 25, 4))
    assert torch.equal(made[:, extra_to:], patches)


@few
@given(seeds, st.integers(1, 5), st.integers(1, 3))
def test_a_bias_table_of_the_same_size_stays(seed: int, side: int, heads: int) -> None:
    table = draw(seed, side * side, heads)
    recipe = Recipe(("a",)).then("bias_table", size=[side, side], to=[side, side])
    torch.testing.assert_close(make(recipe, table, place=table), table)


@few
@given(seeds, st.integers(1, 4), st.integers(1, 9))
def test_channels_keep_what_a_constant_picture_gives(seed: int, old: int, new: int) -> None:
    """1 channel is the sum, n are repeated and scaled: exact where numbers divide or filters agree."""
    weight = draw(seed, 4, old, 3, 3)
    made = make(Recipe(("a",)).then("channels", to=new), weight, place=torch.empty(4, new, 3, 3))
    assert made.shape == (4, new, 3, 3)
    if new == 1:
        torch.testing.assert_close(made, weight.sum(1, keepdim=True))
    if new % old == 0:
        torch.testing.assert_close(made.sum(1), weight.sum(1), rtol=1e-4, atol=1e-5)
    alike = weight[:, :1].expand(-1, old, -1, -1)
    same = make(Recipe(("a",)).then("channels", to=new), alike, place=torch.empty(4, new, 3, 3))
    torch.testing.assert_close(same.sum(1), alike.sum(1), rtol=1e-4, atol=1e-5)


def test_q_k_v_are_fused_reshaped_and_cut() -> None:
    query, key, value = (draw(seed, 4, 6) for seed in range(3))
    fused = make(Recipe(("q", "k", "v")).then("concatenate"), query, key, value)
    assert torch.equal(fused, torch.cat([query, key, value]))
    cut = Recipe(("qkv",)).then("rows", picks=list(range(4, 8)))
    assert torch.equal(make(cut, fused, place=torch.empty(4, 6)), key)
    convolution = Recipe(("q",)).then("reshape", shape=[4, 6, 1, 1])
    assert torch.equal(make(convolution, query)[:, :, 0, 0], query)


def test_a_constant_needs_no_source_and_the_place_gives_the_type() -> None:
    recipe = Recipe((), (Step("constant", {"value": 0.5}),))
    made = make(recipe, place=torch.empty(3, 2, dtype=torch.float16))
    assert made.dtype == torch.float16
    assert torch.equal(made, torch.full((3, 2), 0.5, dtype=torch.float16))


EXAMPLES: dict[str, dict[str, Any]] = {
    "permute": {"dims": [1, 0]},
    "reshape": {"shape": [2, 3, 1, 1]},
    "concatenate": {},
    "rows": {"picks": [1, -1, 0]},
    "grid": {"size": [2, 2], "to": [3, 3], "extra": 1, "extra_to": 1},
    "bias_table": {"size": [3, 3], "to": [5, 5]},
    "channels": {"to": 4},
    "fold_norm": {"part": "weight", "eps": 1e-3, "biased": False},
    "constant": {"value": math.sqrt(2)},
}


def test_every_step_has_an_example_here() -> None:
    assert set(EXAMPLES) == set(STEPS)


@pytest.mark.parametrize("name", EXAMPLES)
def test_json_and_back_and_words(name: str) -> None:
    recipe = Recipe(("a", "b")).then(name, **EXAMPLES[name])
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe
    assert recipe.sentence
    row = Row("x.weight", "a", "order", recipe.sentence, (3,), (2, 3), "adapted", "shared", 0.5, ("c",))
    row = replace(row, recipe=recipe, block="x", conflict=False)
    assert Row.from_json(json.loads(json.dumps(row.to_json()))) == row
    assert row.sources == ("a", "b")


def test_a_fresh_row_has_no_sources_whatever_it_names() -> None:
    row = Row("x", "a", "shapes differ", "", (), (2,), "fresh", "shared", 0.0, conflict=True)
    assert Row.from_json(json.loads(json.dumps(row.to_json()))) == row
    assert row.sources == ()
    assert row.size == 1


def test_a_step_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no step 'eval'; there are permute, reshape"):
        Recipe.from_json({"sources": ["a"], "steps": [{"name": "eval", "code": "1"}]})
