"""What strategies usually gain, and what a fold adds to that."""

from __future__ import annotations

import numpy as np
import pytest

from regraft.choosing.auto.expected import GAINS, Gain, expected_gain, weighed

PRIOR = Gain(0.02, 0.06)


def hits(count: int, share: float) -> np.ndarray:
    return (np.arange(count) < round(count * share)).astype(float)


def test_few_examples_move_little_and_many_decide() -> None:
    few = weighed(hits(20, 0.5), hits(20, 0.6), PRIOR)
    many = weighed(hits(2000, 0.5), hits(2000, 0.6), PRIOR)
    assert 0.02 < few < 0.06
    assert many == pytest.approx(0.2, abs=0.02)  # 10 points are 0.2 standard deviations


def test_none_that_differ_is_no_certainty() -> None:
    same = hits(20, 0.8)
    assert weighed(same, same, PRIOR) == pytest.approx(0.02, rel=0.3)
    assert abs(weighed(hits(4000, 0.8), hits(4000, 0.8), PRIOR)) < 1e-3


def test_values_without_spread_and_unknown_strategies_have_gains() -> None:
    assert np.isfinite(weighed(np.ones(10), np.ones(10), PRIOR))
    assert expected_gain("somebody's own", 50).mean == 0
    assert expected_gain("lpft", 50, changed=True).mean < expected_gain("lpft", 50).mean
    assert expected_gain("lpft", 5) == GAINS["lpft"][0]
