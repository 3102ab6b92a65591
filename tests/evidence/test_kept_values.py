"""What a run keeps of each test example, and paired differences from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regraft.core.errors import BundleError
from regraft.core.task_spec import TaskSpec
from regraft.evidence.kept_values import (
    FILE,
    KeptValues,
    paired_difference,
    read_values,
    values_to_keep,
    write_values,
)
from regraft.tasks import make_task


def hits(values: list[float], **changes: Any) -> KeptValues:
    given: dict[str, Any] = {
        "metric": "accuracy",
        "higher_is_better": True,
        "percent": True,
        "root": False,
    } | changes
    return KeptValues(values=np.array(values, dtype=np.float64), **given)


def errors(values: np.ndarray) -> KeptValues:
    return KeptValues("RMSE", False, False, True, np.square(values))


def test_the_mean_of_what_is_kept_is_the_deciding_metric() -> None:
    rng = np.random.default_rng(0)
    task = make_task(TaskSpec("label", "multiclass", ("a", "b", "c")))
    scores, labels = rng.dirichlet(np.ones(3), size=50), rng.integers(-1, 3, 50)
    kept = values_to_keep(task, scores, labels)
    assert kept is not None
    there = labels >= 0
    assert kept.figure() == pytest.approx(task.metrics[0].compute(scores[there], labels[there]))
    assert np.array_equal(np.isnan(kept.values), ~there)
    regression = make_task(TaskSpec("price", "regression", ()))
    values = rng.normal(size=50)
    truth = np.where(rng.random(50) < 0.2, np.nan, values + rng.normal(size=50))
    found = values_to_keep(regression, values, truth)
    assert found is not None
    assert found.root
    assert found.figure() == pytest.approx(np.sqrt(np.nanmean((values - truth) ** 2)))


def test_a_metric_that_is_no_mean_keeps_nothing() -> None:
    task = make_task(TaskSpec("tags", "multilabel", ("a", "b")))
    assert values_to_keep(task, np.full((4, 2), 0.4), np.ones((4, 2))) is None


def test_they_survive_their_file(tmp_path: Path) -> None:
    write_values(tmp_path, {})
    assert read_values(tmp_path) == {}
    kept = {"label": hits([1, 0, np.nan]), "a.price": errors(np.array([1.5, 2.0]))}
    write_values(tmp_path, kept)
    again = read_values(tmp_path)
    assert set(again) == set(kept)
    for name, one in kept.items():
        assert np.array_equal(again[name].values, one.values, equal_nan=True)
        assert (again[name].metric, again[name].root) == (one.metric, one.root)
        assert again[name].higher_is_better == one.higher_is_better


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    place = tmp_path / FILE
    place.write_bytes(b"no safetensors")
    with pytest.raises(BundleError, match=r"test_values\.safetensors is damaged"):
        read_values(tmp_path)


def slow_difference(one: np.ndarray, other: np.ndarray, root: bool, sign: int) -> tuple[float, float]:
    """The percentile interval with a loop over resamples."""
    rng = np.random.default_rng(5)
    drawn = []
    for _ in range(4000):
        rows = rng.integers(0, len(one), len(one))
        pair = [one[rows].mean(), other[rows].mean()]
        drawn.append(sign * np.subtract(*(np.sqrt(pair) if root else pair)))
    return float(np.quantile(drawn, 0.025)), float(np.quantile(drawn, 0.975))


@pytest.mark.parametrize("root", [False, True])
def test_the_interval_is_that_of_a_slow_bootstrap(root: bool) -> None:
    rng = np.random.default_rng(1)
    common = rng.normal(size=200)
    if root:
        one, other = errors(common + 0.2 * rng.normal(size=200)), errors(common + 0.6 * rng.normal(size=200))
    else:
        one, other = (hits((common + 0.5 * rng.normal(size=200) > cut).tolist()) for cut in (-1.0, -0.8))
    found = paired_difference(one, other)
    sign = -1 if root else 1
    assert found.value == pytest.approx(sign * (one.figure() - other.figure()))
    low, high = slow_difference(one.values, other.values, root, sign)
    width = high - low
    assert found.low == pytest.approx(low, abs=0.08 * width)
    assert found.high == pytest.approx(high, abs=0.08 * width)
    assert found.count == 200


def test_pairing_makes_it_narrower_than_two_intervals() -> None:
    rng = np.random.default_rng(2)
    easy = rng.random(400) < 0.8
    one = hits(np.where(rng.random(400) < 0.03, ~easy, easy).tolist())
    other = hits(np.where(rng.random(400) < 0.03, ~easy, easy).tolist())
    shuffled = hits(rng.permutation(other.values).tolist())
    paired, unpaired = paired_difference(one, other), paired_difference(one, shuffled)
    assert paired.high - paired.low < 0.6 * (unpaired.high - unpaired.low)


def test_the_same_answers_do_not_claim_certainty() -> None:
    found = paired_difference(hits([1.0] * 40 + [0.0] * 10), hits([1.0] * 40 + [0.0] * 10))
    assert found.value == 0
    assert found.low == -found.high
    assert 0.05 < found.high < 0.1  # Wilson's upper end of 0 of 50
    same = paired_difference(errors(np.arange(5.0)), errors(np.arange(5.0)))
    assert np.isnan(same.low)


def test_examples_without_a_label_in_either_are_left_out() -> None:
    found = paired_difference(hits([1, 1, np.nan, 0]), hits([0, np.nan, 1, 0]))
    assert (found.count, found.value) == (2, 0.5)
    assert np.isnan(paired_difference(hits([np.nan]), hits([1])).value)
    assert np.isnan(paired_difference(hits([1]), hits([0])).low)


def test_other_metrics_or_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be paired"):
        paired_difference(hits([1, 0]), hits([1, 0, 1]))
    with pytest.raises(ValueError, match="cannot be paired"):
        paired_difference(hits([1, 0]), hits([1, 0], metric="exact match"))
