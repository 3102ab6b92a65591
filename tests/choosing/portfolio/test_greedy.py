"""The greedy choice beside all choices there are."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from regraft.choosing.portfolio import chosen, expected_regret


def test_expected_regret_by_hand() -> None:
    regrets = np.array([[0.0, 0.4, 0.2], [0.3, 0.0, 0.2]])
    assert expected_regret(regrets, [0]) == pytest.approx(0.15)
    assert expected_regret(regrets, [0, 1]) == 0.0
    assert expected_regret(regrets, [2]) == pytest.approx(0.2)


def test_the_second_adds_most_to_the_first() -> None:
    regrets = np.array([[0.0, 0.1, 0.9], [0.1, 0.0, 0.9], [0.9, 0.8, 0.0]])
    # The best single one is the second; beside it the third helps more than the first.
    assert chosen(regrets, 3) == [1, 2, 0]


@pytest.mark.parametrize("seed", range(5))
def test_greedy_beside_brute_force(seed: int) -> None:
    regrets = np.random.default_rng(seed).exponential(size=(12, 8)) ** 2
    order = chosen(regrets, 4)
    single = min(expected_regret(regrets, [one]) for one in range(8))
    assert expected_regret(regrets, order[:1]) == single
    for size in (2, 3, 4):
        best = min(expected_regret(regrets, list(some)) for some in combinations(range(8), size))
        found = expected_regret(regrets, order[:size])
        assert best <= found
        assert single - found >= (1 - 1 / np.e) * (single - best)
        assert order[:size] == chosen(regrets, size)


def test_more_than_there_are() -> None:
    with pytest.raises(ValueError, match="there are 2 settings to choose from, 3 were asked for"):
        chosen(np.zeros((4, 2)), 3)
