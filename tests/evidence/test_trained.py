"""Arms that the engine fits: each draw anew, features once, the best of several plans kept."""

from __future__ import annotations

import numpy as np
import pytest

from regraft.engine import Settings
from regraft.evidence import TrainedArm
from regraft.plans import Plan
from regraft.sources import find
from regraft.targets import Target, prepare
from tests.engine.conftest import Bench

PLAIN = Settings("cpu", backend="eager")


@pytest.fixture(scope="module")
def digits() -> Bench:
    """60 digits of three classes, half of them for test."""
    from sklearn.datasets import load_digits

    data = load_digits(n_class=3)
    target = Target.from_arrays(data.images[:60], data.target[:60].astype(str)).with_test(30)
    source = find("packaged:efficientnet-lite0", size=32)
    return Bench(source, prepare(target, source.preprocessing, workers=1))


def arm_of(bench: Bench, *plans: Plan) -> TrainedArm:
    return TrainedArm("an arm", "strategy", plans, bench.source, bench.prepared, "label", PLAIN)


def test_a_draw_gives_scores_of_the_whole_test_part(digits: Bench) -> None:
    arm = arm_of(digits, digits.plan("probe"))
    assert arm.uses_source
    first, second = (arm.run(digits.target.draw(seed, train_size=15)) for seed in (1, 2))
    assert first.scores.shape == (len(digits.target.test), 3)
    assert np.allclose(first.scores.sum(axis=1), 1, atol=1e-5)
    assert 0 <= first.validation <= 1
    assert first.trained_parameters == 3 * (1280 + 1)
    assert first.once_seconds > second.once_seconds == 0
    assert not np.array_equal(first.scores, second.scores)
    again = arm_of(digits, digits.plan("probe")).run(digits.target.draw(1, train_size=15))
    assert np.array_equal(again.scores, first.scores)


def test_the_best_of_several_plans_is_kept_for_later_draws(digits: Bench) -> None:
    short = ("stop.epochs=1", "stop.keep=last")
    still = digits.plan("lpft:0", *short, "groups.0.rate=0")
    wild = digits.plan("lpft:0", *short, "groups.0.rate=1000")
    arm = arm_of(digits, wild, still)
    result = arm.run(digits.target.draw(1))
    alone = [arm_of(digits, plan).run(digits.target.draw(1)) for plan in (wild, still)]
    best = (wild, still)[int(np.argmax([one.validation for one in alone]))]
    assert list(arm.plans) == [best]
    assert result.validation == max(one.validation for one in alone)
    assert result.once_seconds > 0


def test_an_arm_from_scratch_uses_no_source(digits: Bench) -> None:
    arm = arm_of(digits, digits.plan("scratch", "stop.epochs=1"))
    assert not arm.uses_source
    result = arm.run(digits.target.draw(1))
    assert result.trained_parameters == digits.source.parameters + 3 * (1280 + 1)
