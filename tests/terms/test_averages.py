"""What an average is of, what it chooses, and what it says to what it cannot average."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from regraft.core.errors import PlanError
from regraft.terms import Judged, Weights, find_average
from regraft.terms.averages import interpolate, mean_weights

START = {"w": torch.tensor([0.0, 1.0]), "steps": torch.tensor(3)}
END = {"w": torch.tensor([1.0, 3.0]), "steps": torch.tensor(7)}
BOTH = {"head": START, "tune": END}


def distance_to(share: float) -> Any:
    """Judges by how far weights are from a point between both."""

    def judge(weights: Weights) -> Judged:
        gap = float((weights["w"] - interpolate(START, END, share)["w"]).square().sum())
        return Judged(gap, {"accuracy": 1 - gap})

    return judge


def test_a_mean_is_the_mean_and_of_one_stage_that_stage() -> None:
    found = mean_weights([START, END, END])
    torch.testing.assert_close(found["w"], torch.tensor([2 / 3, 7 / 3]))
    assert found["steps"] == 7
    assert torch.equal(mean_weights([END])["w"], END["w"])


def test_interpolation_ends_in_its_ends_to_the_bit() -> None:
    torch.manual_seed(0)
    one, two = {"w": torch.randn(1000) * 1e3}, {"w": torch.randn(1000) * 1e-3}
    assert torch.equal(interpolate(one, two, 0.0)["w"], one["w"])
    assert torch.equal(interpolate(one, two, 1.0)["w"], two["w"])
    torch.testing.assert_close(interpolate(one, two, 0.3)["w"], 0.7 * one["w"] + 0.3 * two["w"])


def test_interpolation_takes_the_share_with_the_least_loss_and_shows_the_curve() -> None:
    found = find_average("interpolation")({})(BOTH, distance_to(0.3))
    assert found.history["chosen"] == 0.3
    assert found.history["scores"][3] == min(found.history["scores"])
    assert len(found.history["metrics"]["accuracy"]) == len(found.history["grid"]) == 11
    assert torch.equal(found.weights["w"], interpolate(START, END, 0.3)["w"])
    assert found.weights["steps"] == 7


def test_without_a_label_to_judge_by_it_stays_in_the_middle() -> None:
    found = find_average("interpolation")({"grid": [0, 0.4, 0.9]})(BOTH, lambda _: Judged(0.0))
    assert (found.history["scores"], found.history["metrics"]) == ([None] * 3, {})
    assert found.history["chosen"] == 0.4


def test_a_share_that_is_given_is_not_judged() -> None:
    rule = find_average("interpolation")({"share": 0.25})

    def never(weights: Weights) -> Judged:
        raise AssertionError

    assert rule(BOTH, never).history == {"chosen": 0.25}
    assert rule.trials(("head", "tune")) == 0


def test_a_greedy_soup_takes_in_what_does_not_spoil_it() -> None:
    values = {"a": 1.3, "b": 0.5, "c": 9.0, "d": 1.0}
    ingredients = {name: {"w": torch.tensor([value])} for name, value in values.items()}

    def gap(weights: Weights) -> Judged:
        loss = abs(float(weights["w"]) - 0.9)
        return Judged(loss, {"accuracy": loss})

    found = find_average("greedy")({})(ingredients, gap)
    assert found.history["chosen"] == ["d"], "alone it is 0.1 off; with a 0.25, with b 0.15, with c far more"
    assert sorted(found.history["with"]) == ["a", "b", "c"]

    def middle(weights: Weights) -> Judged:
        return Judged((float(weights["w"]) - 0.8) ** 2, {"accuracy": 0.0})

    mixed = find_average("greedy")({})(ingredients, middle)
    assert mixed.history["chosen"] == ["d", "b"]
    torch.testing.assert_close(mixed.weights["w"], torch.tensor([0.75]))
    everything = find_average("greedy")({})(ingredients, lambda _: Judged(0.0))
    assert sorted(everything.history["chosen"]) == ["a", "b", "c", "d"]
    assert everything.history["alone"] == dict.fromkeys("abcd")


def test_a_greedy_soup_of_one_is_that_one() -> None:
    found = find_average("greedy")({})({"tune": END}, lambda _: Judged(1.0, {"accuracy": 0.5}))
    assert torch.equal(found.weights["w"], END["w"])


PARTS = (("stem", frozenset({"a"})), ("last", frozenset({"b", "c"})), ("head", frozenset({"d"})))


def in_parts(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(2, generator=generator) for name in "abcd"}


def entangled(weights: Weights) -> Judged:
    """A loss to which no block adds by itself."""
    total = torch.stack([weights[name] for name in "abcd"])
    loss = float((total.sum(0) ** 2).sum() + (total[0] * total[3] - total[1]).abs().sum())
    return Judged(loss, {"accuracy": loss})


def test_layers_are_chosen_from_the_head_down() -> None:
    ingredients = {name: in_parts(seed) for seed, name in enumerate(("slow", "middle", "fast"), start=6)}
    found = find_average("layers")({})(ingredients, entangled, PARTS)
    options = {**ingredients, "mean of all": mean_weights(list(ingredients.values()))}
    best = min(ingredients, key=lambda name: entangled(ingredients[name]).loss)
    by_hand, chosen = dict(ingredients[best]), {}
    for block, names in reversed(PARTS):
        trials = {one: {**by_hand, **{n: options[one][n] for n in names}} for one in (best, *options)}
        chosen[block] = min(trials, key=lambda one: entangled(trials[one]).loss)
        by_hand = trials[chosen[block]]
    assert found.history["chosen"] == chosen
    assert len(set(chosen.values())) > 1, "a single choice for all blocks would show nothing"
    assert all(torch.equal(found.weights[name], by_hand[name]) for name in "abcd")
    assert entangled(found.weights).loss < min(found.history["alone"].values())
    judged = len(found.history["alone"]) + len(found.history["tried"])
    assert judged == find_average("layers")({}).trials(("slow", "middle", "fast"), len(PARTS))


def test_layers_of_one_stage_or_without_labels_are_that_stage() -> None:
    one = find_average("layers")({})({"tune": in_parts(0)}, entangled, PARTS)
    assert all(torch.equal(one.weights[name], in_parts(0)[name]) for name in "abcd")
    assert (one.history["tried"], set(one.history["chosen"].values())) == ({}, {"tune"})
    two = {"a": in_parts(0), "b": in_parts(1)}
    found = find_average("layers")({})(two, lambda _: Judged(0.0), PARTS)
    assert all(torch.equal(found.weights[name], in_parts(0)[name]) for name in "abcd")
    assert found.history["alone"] == {"a": None, "b": None}


@pytest.mark.parametrize(
    ("name", "options", "of", "message"),
    [
        ("blend", {}, ("a",), "no average is called 'blend'; there are: .*interpolation"),
        ("mean", {"share": 1}, ("a",), "'mean' has no option share; it has: none"),
        ("mean", {}, (), "'mean' is of no stage"),
        ("mean", {}, ("a", "a"), "names a stage twice: a, a"),
        ("interpolation", {}, ("a",), "between 2 stages; the plan names a: write as in"),
        ("interpolation", {"share": 2}, ("a", "b"), "shares from 0 to 1, as in share: 0.5 .*found .2."),
        ("interpolation", {"grid": []}, ("a", "b"), "shares from 0 to 1"),
        ("interpolation", {"grid": [0], "share": 0}, ("a", "b"), "a grid or a share, not both"),
    ],
)
def test_what_cannot_be_averaged_is_said(
    name: str, options: dict[str, Any], of: tuple[str, ...], message: str
) -> None:
    with pytest.raises(PlanError, match=message):
        find_average(name)(options).check(of)
