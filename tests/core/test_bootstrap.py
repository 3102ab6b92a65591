import numpy as np
import pytest

from regraft.core.bootstrap import bootstrap_figures, bootstrap_interval, resample_counts, share_interval


def mean_of(values: np.ndarray):
    return lambda counts: counts @ values / counts.sum(1)


def test_the_interval_of_a_mean_is_the_textbooks() -> None:
    values = np.random.default_rng(0).normal(3, 2, 400)
    found = bootstrap_interval(mean_of(values), 400)
    half = 1.96 * values.std() / 20
    assert found.low == pytest.approx(values.mean() - half, abs=0.03)
    assert found.high == pytest.approx(values.mean() + half, abs=0.03)


def test_it_is_a_function_of_seed_and_purpose() -> None:
    values = np.arange(30.0)
    first, again = (bootstrap_figures(mean_of(values), 30, seed=1) for _ in range(2))
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != bootstrap_figures(mean_of(values), 30, seed=2).tobytes()
    assert first.tobytes() != bootstrap_figures(mean_of(values), 30, seed=1, purpose="other").tobytes()


def test_every_resample_holds_as_many_examples() -> None:
    blocks = list(resample_counts(50, 20, seed=0, purpose="x"))
    assert sum(len(block) for block in blocks) == 20
    assert all((block.sum(1) == 50).all() for block in blocks)


def test_undefined_resamples_are_left_out() -> None:
    values = np.arange(40.0)

    def sometimes(counts: np.ndarray) -> np.ndarray:
        return np.where(counts[:, 0] > 2, np.nan, mean_of(values)(counts))

    found = bootstrap_interval(sometimes, 40)
    assert 13 < found.low < found.high < 26


def test_where_most_resamples_are_undefined_nothing_is_said() -> None:
    found = bootstrap_interval(lambda counts: np.where(counts[:, 0] > 0, np.nan, 1.0), 40)
    assert np.isnan([found.low, found.high]).all()
    assert np.isnan(bootstrap_interval(mean_of(np.ones(1)), 1).low)
    assert np.isnan(bootstrap_figures(mean_of(np.ones(0)), 0)).all()


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        values = (random.random(120) < 0.8).astype(float)
        found = bootstrap_interval(mean_of(values), 120, resamples=300, seed=trial)
        covered += found.low <= 0.8 <= found.high
    assert covered >= 200 * 0.95 - 3 * (200 * 0.95 * 0.05) ** 0.5


def test_all_right_is_not_certainty() -> None:
    assert share_interval(1.0, 50).low == pytest.approx(0.9287, abs=1e-4)
    assert share_interval(1.0, 50).high == 1.0
    assert share_interval(0.0, 50).low == 0.0
    assert share_interval(0.5, 100).low == pytest.approx(0.4038, abs=1e-4)
