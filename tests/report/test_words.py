"""Numbers as they are printed, places on axes, and folded names."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, strategies as st

from regraft.report import _words as words
from regraft.report._charts import thinned
from regraft.report._link import fold
from regraft.report._scale import log_scale, power, scale_of


@pytest.mark.parametrize(
    ("value", "low", "high", "percent", "text"),
    [
        (0.8492, 0.8349, 0.8618, True, "84.9% (83.5 to 86.2)"),
        (1.0, 1.0, 1.0, True, "100.0% (100.0 to 100.0)"),
        (12.3456, 11.2, 13.9, False, "12.35 (11.20 to 13.90)"),
        (1234.5, 1100, 1400, False, "1,234 (1,100 to 1,400)"),
        (0.5, None, None, True, "50.0%"),
        (None, 0.1, 0.2, True, words.MISSING),
        (math.nan, 0.1, 0.2, False, words.MISSING),
        (-0.00001, -0.00002, 0.3, False, "0.000 (0.000 to 0.300)"),
    ],
)
def test_intervals(value: float, low: float, high: float, percent: bool, text: str) -> None:
    assert words.interval(value, low, high, percent=percent) == text


@pytest.mark.parametrize(
    ("value", "low", "high", "percent", "text"),
    [
        (0.0213, 0.008, 0.034, True, "+2.1 points (+0.8 to +3.4)"),
        (-0.0004, -0.01, 0.009, True, "0.0 points (−1.0 to +0.9)"),  # noqa: RUF001
        (-1.25, None, None, False, "−1.25"),  # noqa: RUF001
    ],
)
def test_differences_are_in_points(value: float, low: float, high: float, percent: bool, text: str) -> None:
    assert words.difference(value, low, high, percent=percent) == text


def test_shares_are_never_rounded_to_nothing_or_to_all() -> None:
    assert words.share(1, 1_000_000) == "< 0.01%"
    assert words.share(999_999, 1_000_000) == "99.9%"
    assert (words.share(0, 5), words.share(5, 5), words.share(1, 300)) == ("0%", "100%", "0.33%")


def test_small_things() -> None:
    assert words.moment("2026-11-22T02:31:50+00:00") == "22 November 2026, 02:31 UTC"
    assert words.moment("soon") == "soon"
    assert words.joined(["a", "b", "c"]) == "a, b and c"
    assert words.probability(0.00001) == "< 0.001"
    assert words.ending("a/very/long/name.jpg", 9) == "…name.jpg"
    assert (power(1e-4), power(0.1)) == ("10⁻⁴", "0.1")


FIGURES = st.floats(-1e12, 1e12, allow_nan=False)


@given(st.lists(FIGURES, min_size=1, max_size=20))
def test_every_value_has_a_place_on_its_axis(values: list[float]) -> None:
    scale = scale_of(values)
    assert scale.low < scale.high
    assert all(0 <= scale.at(value) <= 100 for value in values)
    assert 1 <= len(scale.ticks()) <= 12
    assert all(0 <= tick.at <= 100 for tick in scale.ticks())


@given(st.floats(1e-12, 1e12), st.floats(11, 1e12))
def test_logarithmic_axes_hold_their_values(low: float, factor: float) -> None:
    scale = log_scale([low, low * factor])
    assert scale is not None
    assert (scale.at(low), scale.at(low * factor)) == (0.0, 100.0)
    assert 1 <= len(scale.ticks()) <= 7


def test_thinning_keeps_the_ends_of_a_curve() -> None:
    points = [(float(i), float(i)) for i in range(1000)]
    few = thinned(points, 100)
    assert len(few) <= 101
    assert few[-1] == points[-1]


def test_rows_of_a_link_are_folded_over_their_numbers() -> None:
    rows = [
        {"target": f"net.blocks.{i}.conv{j}.weight", "source": f"b.{i}.conv{j}.weight", "action": "copied"}
        for i in range(3)
        for j in (1, 2)
    ]
    rows.append({"target": "head.weight", "source": None, "action": "fresh"})
    folded = fold(rows)
    assert [(row.target, row.source, row.tensors) for row in folded] == [
        ("net.blocks.{0…2}.conv1.weight", "b.{0…2}.conv1.weight", 3),
        ("net.blocks.{0…2}.conv2.weight", "b.{0…2}.conv2.weight", 3),
        ("head.weight", "", 1),
    ]
