"""Scale, score, forecast and budget, each by itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from regraft.choosing.ranking.budget import fitting_count, plan_first_look
from regraft.choosing.ranking.forecast import Steps, curve_sizes, forecast, slope
from regraft.choosing.ranking.race import can_race
from regraft.choosing.ranking.scale import Scale
from regraft.choosing.ranking.score import RESAMPLES, Score, resample_together, score_features
from regraft.core.errors import BudgetError, SourceError
from regraft.core.task_spec import TaskSpec
from regraft.tasks import make_task

CLASSES = make_task(TaskSpec("label", "multiclass", ("a", "b", "c")))


def test_the_scale_goes_there_and_back() -> None:
    shares, errors = Scale(True), Scale(False)
    values = np.array([0.02, 0.5, 0.98])
    np.testing.assert_allclose(shares.back(shares.forward(values, 1000)), values)
    np.testing.assert_allclose(errors.back(errors.forward(10 * values, 1000)), 10 * values)
    assert shares.forward(1.0, 50) == pytest.approx(math.log(99))  # half an example off
    assert errors.forward(2.0, 50) < errors.forward(1.0, 50)


def test_a_score_is_that_of_fits_to_all_others() -> None:
    random = np.random.default_rng(0)
    labels = np.arange(45) % 3
    features = random.standard_normal((45, 6)) + 1.2 * np.eye(3, 6)[labels]
    score = score_features(features, labels, CLASSES, "it")
    centred = features - features.mean(axis=0)
    unit = np.linalg.eigvalsh(centred.T @ centred).mean()
    hits = []
    for strength in 10.0 ** (np.arange(-10, 7) / 2):
        right = 0
        for out in range(45):
            rest = np.arange(45) != out
            fit = Ridge(alpha=strength * unit).fit(features[rest], np.eye(3)[labels[rest]])
            right += int(fit.predict(features[out : out + 1])[0].argmax() == labels[out])
        hits.append(right / 45)
    assert score.figure == pytest.approx(max(hits))
    assert score.count == 45


def test_resamples_of_two_sources_are_paired() -> None:
    labels = np.arange(60) % 3
    right = np.eye(3)[labels]
    wrong = right.copy()
    wrong[:6] = right[:6, ::-1] + 1e-3  # a few of them
    one, other = (Score(values, labels, CLASSES.metrics[0]) for values in (right + 1e-3, wrong))
    apart = one.resampled(seed=1) - other.resampled(seed=1)
    assert len(apart) == RESAMPLES
    assert apart.min() >= 0  # on no resample is the one that is never wrong behind


def test_a_source_that_is_always_right_on_few_examples_is_not_certain() -> None:
    labels = np.arange(10) % 3
    sure = Score(np.eye(3)[labels], labels, CLASSES.metrics[0])
    assert sure.resampled(seed=0).std() < 1e-12
    drawn = resample_together([sure, sure], seed=0)
    assert drawn.std(axis=0).min() > 0.8
    assert drawn.mean(axis=0) == pytest.approx([sure.value] * 2, abs=0.1)


def test_features_that_are_not_finite_are_the_sources_fault() -> None:
    features = np.full((6, 2), np.nan)
    with pytest.raises(SourceError, match="it gives features that are not finite for 6 of 6"):
        score_features(features, np.arange(6) % 3, CLASSES, "it")


def test_a_forecast_follows_the_curve_and_widens() -> None:
    steps = Steps(
        usual=0.2, weight=0.5, gain=0.1, spread=0.3, doubling=0.2, apart=0.1, smaller=0.1, raced=0.1
    )
    assert slope([0.0, 0.4, 0.8], steps.usual) == pytest.approx(0.4)
    assert slope([1.0], steps.usual) == 0.2
    found = forecast(1.0, 0.4, [0.0, 0.4, 0.8], 2.0, steps)
    assert found.value == pytest.approx(1.0 + 2 * 0.3 + 0.1)
    # 80% of a normal distribution lie within 1.2816 standard deviations.
    assert found.high - found.value == pytest.approx(1.2816 * (0.16 + 0.09 + 0.16) ** 0.5, abs=1e-3)
    assert found.value - found.low == pytest.approx(found.high - found.value)
    none = forecast(1.0, 0.0, [1.0], -1.0, steps)
    assert none.value == pytest.approx(1.1)
    assert curve_sizes(100, 16) == (25, 50, 100)
    assert curve_sizes(40, 16) == (20, 40)
    assert curve_sizes(12, 16) == (12,)


def test_what_does_not_fit_is_cut_in_the_stated_order() -> None:
    seconds, expected = [0.1, 0.1, 0.2], [0.3, 0.9, 0.6]

    def look(left: float, shrink: bool = True) -> tuple[int, bool, tuple[int, ...], int]:
        found = plan_first_look(seconds, can_shrink=[shrink] * 3, expected=expected, count=256, left=left)
        return found.count, found.smaller, found.tried, len(found.cut)

    assert look(math.inf) == (256, False, (0, 1, 2), 0)
    assert look(210) == (256, False, (0, 1, 2), 0)  # 102 s, half of it
    assert look(100) == (256, True, (0, 1, 2), 1)
    assert look(50) == (128, True, (0, 1, 2), 2)
    assert look(100, shrink=False) == (64, False, (0, 1, 2), 1)
    assert look(40, shrink=False) == (64, False, (1, 2), 2)  # without the one that facts say least for
    with pytest.raises(
        BudgetError, match=r"not even one source can be looked at on 64 examples .* larger --budget"
    ):
        look(1)


def test_as_many_examples_as_there_is_time_for() -> None:
    assert fitting_count(0.1, 256, 30.0) == 256
    assert fitting_count(0.1, 256, 20.0) == 128
    assert fitting_count(0.1, 256, 7.0) == 64
    assert fitting_count(0.1, 256, 6.0) == 0
    assert fitting_count(0.1, 30, 2.9) == 0, "fewer than it has are not made up"
    assert fitting_count(0.1, 256, math.inf) == 256


def test_a_race_needs_enough_examples_that_judge() -> None:
    assert not can_race(range(200))  # 100 train, 100 judge
    assert can_race(range(256))
    assert can_race(range(400))  # no more than 256 train
