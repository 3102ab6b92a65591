"""Learning curves: trials within a budget, label equivalence with its interval, what files keep of them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from regraft.core.errors import UsageError
from regraft.evidence.arms import ArmResult
from regraft.evidence.curve import LabelEquivalence
from regraft.evidence.curve_trials import CurveTrials, check_points, run_curve
from regraft.evidence.judge import judge
from regraft.evidence.label_equivalence import Curve, Ratio, crossing, falling, label_ratios
from regraft.evidence.ledger import Ledger
from regraft.evidence.selection import Selection, fresh_seeds
from regraft.evidence.table import curve_table
from regraft.evidence.trials import Trials, run_trials
from regraft.evidence.verdict import Evidence
from regraft.targets import Draw, Target
from tests.evidence.test_trials import Clock, TimedArm
from tests.evidence.test_verdict import RidgeArm, pixels

POINTS = (5, 10, 20)


def test_falling_is_scikit_learns_isotonic_regression() -> None:
    losses = np.random.default_rng(0).normal(size=(40, 6)) + np.linspace(1, 0, 6)
    expected = [IsotonicRegression(increasing=False).fit_transform(np.arange(6), row) for row in losses]
    np.testing.assert_allclose(falling(losses), expected)


def test_a_curve_is_crossed_between_its_points_and_not_beyond_them() -> None:
    losses = np.array([[0.4, 0.2, 0.1]])
    places = np.array([0.0, 1.0, 3.0])
    found = [float(crossing(places, losses, np.array([loss]))[0]) for loss in (0.3, 0.1, 0.4, 0.5, 0.05)]
    assert found == pytest.approx([0.5, 3.0, 0.0, -math.inf, math.inf])


LABELS = np.array([10.0, 20.0, 40.0, 80.0, 160.0, 320.0])


def power_law(times: float, noise: float, seed: int = 0, seeds: int = 8) -> tuple[Curve, Curve]:
    """A strategy, and an arm that needs ``times`` as many labels everywhere."""
    random = np.random.default_rng(seed)

    def curve(labels: np.ndarray) -> Curve:
        values = labels[:, None] ** -0.5 + random.normal(0, noise, (len(LABELS), seeds))
        return Curve(LABELS, values, np.repeat(values[..., None], 200, axis=-1), np.zeros(len(LABELS)))

    return curve(LABELS), curve(LABELS / times)


def test_the_ratio_of_two_known_curves_is_found() -> None:
    found = label_ratios(*power_law(4.0, 1e-9))
    assert [one.value for one in found[:3]] == pytest.approx([4.0] * 3, rel=1e-3)
    assert [one.value for one in found[4:]] == [math.inf] * 2, "no such losses were measured"


def test_intervals_of_ratios_hold_the_truth() -> None:
    held = 0
    for seed in range(60):
        found = label_ratios(*power_law(4.0, 0.02, seed), seed=seed)[1]
        held += found.low <= 4.0 <= found.high
        assert found.low <= found.value <= found.high
    assert held >= 53, "95%, and Monte Carlo error of 60"


def test_sentences_say_what_was_measured() -> None:
    one = LabelEquivalence("SVM", "probe", 10, 100.0, 6.3, 4.1, 9.8, 0.5, 20.0, "measured")
    assert one.sentence == (
        "SVM needs 6.3 times the labels (95% interval 4.1 to 9.8) to match probe at 100 labels "
        "(10 per class)."
    )
    beyond = replace(one, ratio=math.nan, low=12.0, high=math.nan, per_class=None, found="beyond")
    assert beyond.sentence == (
        "SVM needs more than 20 times the labels to match probe at 100 labels, the most that was measured "
        "(95% interval from 12)."
    )
    below = replace(one, ratio=math.nan, low=math.nan, high=0.8, found="below")
    assert "needs no more than 0.5 times the labels" in below.sentence
    assert "(95% interval up to 0.8)" in below.sentence
    wide = replace(one, low=math.nan, high=math.nan)
    assert "(95% interval at most 0.5 to more than 20)" in wide.sentence


def test_points_that_make_no_curve_are_refused() -> None:
    assert check_points((50, 10, 50)) == (10, 50)
    with pytest.raises(UsageError, match="at least two different numbers of labels per class"):
        check_points((10, 10))


# --- on digits -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits() -> Target:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return Target.from_arrays(images.reshape(-1, 8, 8) / 16, labels.astype(str)).with_test(0.5)


@pytest.fixture(scope="module")
def trials(digits: Target) -> Trials:
    features = pixels(digits)
    arms = [
        RidgeArm(digits, features, "ridge on pixels"),
        RidgeArm(digits, features[:, ::3], "ridge on a third", "scratch", uses_source=False),
        RidgeArm(digits, features[:, ::9], "ridge on a ninth", "baseline", uses_source=False),
    ]
    return run_trials(arms, lambda seed: digits.draw(seed, per_class=10), seeds=range(4))


@pytest.fixture(scope="module")
def curve(digits: Target, trials: Trials) -> CurveTrials:
    draws: list[Draw] = []

    def draw(seed: int, per_class: int) -> Draw:
        draws.append(digits.draw(seed, per_class=per_class))
        return draws[-1]

    found = run_curve(trials, trials.arms[1], POINTS, draw, budget=None)
    assert len(draws) == 12
    return found


@pytest.fixture(scope="module")
def evidence(digits: Target, trials: Trials, curve: CurveTrials) -> Evidence:
    return judge(trials, digits, "label", Ledger(), curve=curve)


def test_smaller_draws_are_parts_of_larger_ones_and_the_runs_own_is_not_run_again(
    trials: Trials, curve: CurveTrials
) -> None:
    assert [point.per_class for point in curve.points] == [5, 10, 20]
    assert [point.labels for point in curve.points] == [50, 100, 200]
    assert [point.own for point in curve.points] == [False, True, False]
    assert curve.points[1].results == trials.results
    for few, many in zip(curve.points[0].draws, curve.points[2].draws, strict=True):
        assert few.seed == many.seed
        assert set(few.train) < set(many.train)
        assert set(few.validation) <= set(many.validation)


def test_a_curve_has_intervals_and_equivalences_and_survives_its_file(evidence: Evidence) -> None:
    shown = evidence.curve
    assert shown is not None
    assert [arm.name for arm in shown.arms] == ["ridge on pixels", "ridge on a third", "ridge on a ninth"]
    for arm in shown.arms:
        assert all(point.low < point.mean < point.high for point in arm.points)
    means = [point.mean for point in shown.arms[0].points]
    assert means == sorted(means)
    assert shown.arms[0].points[1].test == evidence.arms[0].test
    assert len(shown.equivalences) == 6
    at_five = shown.equivalences[0]
    assert (at_five.arm, at_five.per_class, at_five.most) == ("ridge on a third", 5, 4.0)
    assert at_five.found == "beyond" or at_five.ratio > 1
    assert shown.sentence == at_five.sentence
    assert shown.sentence in curve_table(shown, percent=True)
    assert Evidence.from_json(evidence.to_json()) == evidence or any(
        math.isnan(one.ratio) for one in shown.equivalences
    )
    again = Evidence.from_json(evidence.to_json())
    assert again.to_json() == evidence.to_json()
    assert "curve" not in replace(evidence, curve=None).to_json()


def test_points_beyond_the_pool_are_left_out_aloud(digits: Target, trials: Trials) -> None:
    found = run_curve(
        trials,
        trials.arms[1],
        (10, 500, 600),
        lambda seed, per_class: digits.draw(seed, per_class=per_class),
        budget=None,
    )
    assert len(found.points) == 2
    assert found.cut == ("600 labels per class: the pool has no more than 899 labels",)


def timed(budget: float | None) -> CurveTrials:
    """A strategy (1 s at 10 labels), a reference (1 s) and a dear arm (5 s) at 10, 20 and 40 labels."""
    clock = Clock()

    class Linear(TimedArm):
        def run(self, draw: Draw) -> ArmResult:
            seconds = self.seconds * (len(draw.train) + len(draw.validation)) / 10
            clock.now += seconds
            return ArmResult(self.validation, np.zeros((4, 2)), seconds, 1)

    def draw(seed: int, per_class: int) -> Draw:
        return Draw(seed, np.arange(per_class - 2), np.arange(per_class - 2, per_class))

    arms = [Linear(clock, "strategy", 1, uses_source=True), Linear(clock, "svm", 1), Linear(clock, "net", 5)]
    trials = run_trials(arms, lambda seed: draw(seed, 10), seeds=range(8), clock=clock)
    return run_curve(trials, arms[1], (10, 20, 40), draw, budget=budget, clock=clock)


@pytest.mark.parametrize(
    ("budget", "arms", "seeds", "points", "words"),
    [
        (None, 3, 8, 3, ()),
        (252, 3, 6, 3, ("seeds of the curve: 6 of 8",)),
        (100, 2, 4, 3, ("seeds of the curve: 4 of 8", "net in the curve")),
        (20, 2, 4, 2, ("seeds of the curve", "net in the curve", "40 labels per class")),
        (5, 3, 8, 1, ("the learning curve: its least takes about 16 s more, and 5.0 s of",)),
    ],
)
def test_a_budget_cuts_seeds_then_arms_then_points(
    budget: float | None, arms: int, seeds: int, points: int, words: tuple[str, ...]
) -> None:
    found = timed(budget)
    assert (len(found.arms), len(found.points)) == (arms, points)
    assert {len(point.draws) for point in found.points} == {seeds}
    assert len(found.cut) == len(words)
    assert all(said.startswith(word) for said, word in zip(found.cut, words, strict=True))
    assert budget is None or found.spent_seconds <= budget


def test_seeds_that_a_choice_has_seen_are_not_used() -> None:
    assert fresh_seeds(0, 3) == (1, 2, 3)
    assert fresh_seeds(0, 3, (1, 3, 7)) == (2, 4, 5)
    chosen = Selection((1, 2), 6, 12.5, "regraft rank")
    assert Selection.from_json(chosen.to_json()) == chosen
    assert Selection.from_json({}) == Selection()


def test_a_ratio_keeps_its_ends_in_order() -> None:
    assert all(isinstance(one, Ratio) for one in label_ratios(*power_law(2.0, 0.05)))
