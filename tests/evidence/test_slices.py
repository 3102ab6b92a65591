"""Slices: who is in them, figures, and how often a slice that is not worse is called so."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import hypergeom

from regraft.evidence.slices import MISSING, MOST_VALUES, grouped, slices
from regraft.tasks.metrics import ACCURACY, RMSE

CAMERAS = ["north", "south", "west"]


def answers(right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores of two classes that hit where ``right`` says so, for labels of 0."""
    return np.eye(2)[1 - right.astype(int)], np.zeros(len(right), dtype=np.int64)


def test_a_slice_that_is_worse_is_marked_and_the_others_are_not() -> None:
    camera = np.repeat(CAMERAS, 60)
    right = np.ones(180, dtype=bool)
    right[[3, 20, 70, 90]] = False
    right[120:150] = False
    rows = slices(ACCURACY, *answers(right), {"camera": list(camera)})
    found = {row.value: row for row in rows}
    assert [row.column for row in rows] == ["camera"] * 3
    assert found["west"].figure == 0.5
    assert found["west"].rest == pytest.approx(116 / 120)
    assert [found[name].worse for name in CAMERAS] == [False, False, True]
    assert found["west"].low < 0.5 < found["west"].high
    json.dumps([row.to_json() for row in rows], allow_nan=False)


def test_the_p_value_is_the_hypergeometric_one() -> None:
    right = np.zeros(60, dtype=bool)
    right[:40] = True
    inside = np.zeros(60, dtype=bool)
    inside[30:50] = True  # 10 of 20 right, 30 of 40 outside
    row = slices(ACCURACY, *answers(right), {"part": ["in" if x else "out" for x in inside]})
    found = next(one for one in row if one.value == "in")
    assert found.p == pytest.approx(hypergeom.cdf(10, 60, 40, 20), abs=0.01)
    assert found.adjusted == pytest.approx(2 * found.p)


def test_slices_at_random_are_rarely_called_worse() -> None:
    random, marked = np.random.default_rng(0), 0
    for _ in range(40):
        right = random.random(120) < 0.8
        words = [str(name) for name in random.choice(["a", "b", "c", "d"], 120)]
        marked += any(row.worse for row in slices(ACCURACY, *answers(right), {"of": words}))
    assert marked <= 6  # 5% are 2; 7 or more of 40 have a probability below 1%


def test_an_error_is_worse_where_it_is_larger() -> None:
    values = np.concatenate([np.full(40, 0.1), np.full(20, 3.0)])
    rows = slices(RMSE, values, np.zeros(60), {"site": ["a"] * 40 + ["b"] * 20})
    assert {row.value: row.worse for row in rows} == {"a": False, "b": True}


def test_all_right_is_not_certainty() -> None:
    found = slices(ACCURACY, *answers(np.ones(30, dtype=bool)), {"site": ["a"] * 15 + ["b"] * 15})[0]
    assert found.high == 1
    assert 0.7 < found.low < 0.9
    assert not found.worse


def test_numbers_are_cut_into_quarters_and_few_of_them_are_words() -> None:
    ages = [str(age) for age in range(100)] + [None] * 3
    found = grouped(ages)
    assert list(found) == ["0 to 24", "25 to 49", "50 to 74", "75 to 99", MISSING]
    assert [int(inside.sum()) for inside in found.values()] == [25, 25, 25, 25, 3]
    assert list(grouped(["10", "9", "9", "2"])) == ["2", "9", "10"]
    assert list(grouped(["x", "y", "y", None])) == ["y", MISSING, "x"]
    skewed = grouped(["0"] * 90 + [str(n) for n in range(1, 11)])
    assert sum(int(inside.sum()) for inside in skewed.values()) == 100


def test_rare_values_are_told_together_and_one_value_alone_cannot_be_compared() -> None:
    found = grouped([f"word {n % 50}" for n in range(500)])
    assert len(found) == MOST_VALUES + 1
    assert np.sum(list(found.values()), axis=0).tolist() == [1] * 500
    only = slices(ACCURACY, *answers(np.ones(5, dtype=bool)), {"site": ["a"] * 5})[0]
    assert (only.p, only.rest, only.worse) == (None, None, False)
