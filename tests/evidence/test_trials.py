from dataclasses import dataclass, field

import numpy as np
import pytest

from regraft.core.errors import BudgetError, TrainingError, UsageError
from regraft.evidence.arms import ArmKind, ArmResult
from regraft.evidence.trials import Trials, run_trials
from regraft.targets import Draw

SEEDS = tuple(range(8))


@dataclass
class Clock:
    """Time that passes only when an arm says so."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class TimedArm:
    """An arm that takes a known time; what it predicts does not matter here."""

    clock: Clock
    name: str
    seconds: float
    uses_source: bool = False
    validation: float = 0.5
    once: float = 0.0
    expected_seconds: float | None = None
    fails_on: int | None = None
    kind: ArmKind = "baseline"
    seeds: list[int] = field(default_factory=list)

    def run(self, draw: Draw) -> ArmResult:
        if draw.seed == self.fails_on:
            raise TrainingError("the loss is not finite")
        spent = self.seconds + (0 if self.seeds else self.once)
        self.clock.now += spent
        self.seeds.append(draw.seed)
        once = 0.0 if len(self.seeds) > 1 else self.once
        return ArmResult(self.validation, np.zeros((4, 2)), spent, 1, once)


def a_draw(seed: int) -> Draw:
    rows = np.random.default_rng(seed).permutation(20)
    return Draw(seed, np.sort(rows[:10]), np.sort(rows[10:13]))


def run(clock: Clock, *arms: TimedArm, budget: float | None = None, seeds: tuple[int, ...] = SEEDS) -> Trials:
    return run_trials(arms, a_draw, seeds=seeds, budget=budget, clock=clock)


def test_without_a_budget_every_arm_sees_every_draw() -> None:
    clock = Clock()
    arms = [
        TimedArm(clock, "strategy", 2, uses_source=True),
        TimedArm(clock, "svm", 1),
        TimedArm(clock, "net", 5),
    ]
    trials = run(clock, *arms)
    assert [arm.seeds for arm in arms] == [list(SEEDS)] * 3
    assert [draw.seed for draw in trials.draws] == list(SEEDS)
    assert {name: len(results) for name, results in trials.results.items()} == {
        "strategy": 8,
        "svm": 8,
        "net": 8,
    }
    assert (trials.cut, trials.spent_seconds, trials.predicted_seconds) == ((), 64, 64)


def test_the_price_is_said_before_it_is_paid(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    run(
        clock,
        TimedArm(clock, "strategy", 2, once=30, uses_source=True),
        TimedArm(clock, "svm", 1),
        budget=100,
    )
    said = capsys.readouterr().err
    assert "2 arms on 8 seeds: about 54 s in all, within the budget of 1 min 40 s (33 s of it" in said


def test_seeds_are_cut_first() -> None:
    clock = Clock()
    trials = run(
        clock, TimedArm(clock, "strategy", 5, uses_source=True), TimedArm(clock, "svm", 5), budget=62
    )
    assert len(trials.draws) == 6
    assert trials.cut == ("seeds: 6 of 8, the budget allows no more",)
    assert trials.spent_seconds <= 62


def test_then_the_dearest_arms_that_the_verdict_does_not_rest_on() -> None:
    clock = Clock()
    trials = run(
        clock,
        TimedArm(clock, "strategy", 1, uses_source=True),
        TimedArm(clock, "good net", 4, validation=0.9),
        TimedArm(clock, "bad net", 9, validation=0.4),
        TimedArm(clock, "svm", 1, validation=0.6),
        budget=50,
    )
    assert [arm.name for arm in trials.arms] == ["strategy", "good net", "svm"]
    assert trials.cut == (
        "bad net: a trial takes 9.0 s, too long for the budget",
        "seeds: 6 of 8, the budget allows no more",
    )
    assert trials.spent_seconds <= 50


def test_the_best_arm_without_a_source_is_kept_however_dear() -> None:
    clock = Clock()
    trials = run(
        clock,
        TimedArm(clock, "strategy", 1, uses_source=True),
        TimedArm(clock, "good net", 10, validation=0.9),
        TimedArm(clock, "svm", 1, validation=0.6),
        budget=40,
    )
    assert [arm.name for arm in trials.arms] == ["strategy", "good net", "svm"]
    assert len(trials.draws) == 3


def test_for_errors_the_lowest_validation_is_best() -> None:
    clock = Clock()
    arms = [
        TimedArm(clock, "strategy", 1, uses_source=True),
        TimedArm(clock, "good net", 4, validation=0.1),
        TimedArm(clock, "bad net", 9, validation=0.8),
    ]
    trials = run_trials(arms, a_draw, seeds=SEEDS, budget=50, higher_is_better=False, clock=clock)
    assert [arm.name for arm in trials.arms] == ["strategy", "good net"]


def test_what_does_not_fit_at_all_is_refused_with_the_budget_that_would_do() -> None:
    clock = Clock()
    with pytest.raises(
        BudgetError, match=r"3 seeds of strategy.*budget of 40 s: they need about 1 min 00 s|60 s"
    ):
        run(clock, TimedArm(clock, "strategy", 10, uses_source=True), TimedArm(clock, "svm", 10), budget=40)
    clock = Clock()
    with pytest.raises(BudgetError, match=r"Give --budget 72s or more, or fewer labels"):
        run(clock, TimedArm(clock, "strategy", 10, uses_source=True), TimedArm(clock, "svm", 10), budget=40)
    clock = Clock()
    run(clock, TimedArm(clock, "strategy", 10, uses_source=True), TimedArm(clock, "svm", 10), budget=72)


def test_an_arm_known_to_be_too_dear_is_not_begun() -> None:
    clock = Clock()
    scratch = TimedArm(clock, "scratch", 600, expected_seconds=600)
    trials = run(
        clock, TimedArm(clock, "strategy", 1, uses_source=True), scratch, TimedArm(clock, "svm", 1), budget=60
    )
    assert scratch.seeds == []
    assert trials.cut == ("scratch: 3 trials of about 10 min 00 s do not fit in the budget",)
    clock = Clock()
    with pytest.raises(BudgetError, match="no arm without a source fits in the budget of 60 s"):
        run(
            clock,
            TimedArm(clock, "strategy", 1, uses_source=True),
            TimedArm(clock, "scratch", 600, expected_seconds=600),
            budget=60,
        )
    clock = Clock()
    strategy = TimedArm(clock, "strategy", 600, uses_source=True, expected_seconds=600)
    with pytest.raises(BudgetError, match="3 seeds of strategy and an arm without a source do not fit"):
        run(clock, strategy, TimedArm(clock, "svm", 1), budget=60)
    assert strategy.seeds == []


def test_what_is_paid_once_is_not_foretold_again() -> None:
    clock = Clock()
    trials = run(
        clock, TimedArm(clock, "strategy", 1, once=50, uses_source=True), TimedArm(clock, "svm", 1), budget=70
    )
    assert len(trials.draws) == 8
    assert trials.predicted_seconds == trials.spent_seconds == 66


def test_trials_that_become_slower_cost_seeds_but_never_the_first_three() -> None:
    clock = Clock()
    svm = TimedArm(clock, "svm", 1)
    strategy = TimedArm(clock, "strategy", 1, uses_source=True)

    def draw(seed: int) -> Draw:
        strategy.seconds += 2
        return a_draw(seed)

    trials = run_trials([strategy, svm], draw, seeds=SEEDS, budget=36, clock=clock)
    assert len(trials.draws) == 4
    assert trials.cut == ("seeds: 4 of 8, the budget allows no more",)
    assert {len(results) for results in trials.results.values()} == {4}


def test_an_arm_that_fails_is_left_out_with_its_reason() -> None:
    clock = Clock()
    trials = run(
        clock,
        TimedArm(clock, "strategy", 1, uses_source=True),
        TimedArm(clock, "net", 1, fails_on=3),
        TimedArm(clock, "svm", 1),
    )
    assert [arm.name for arm in trials.arms] == ["strategy", "svm"]
    assert trials.cut == ("net: it failed on seed 3: the loss is not finite",)


@pytest.mark.parametrize("failing", ["strategy", "svm"])
def test_nothing_is_proven_without_the_strategy_or_the_last_arm_without_a_source(failing: str) -> None:
    clock = Clock()
    arms = [TimedArm(clock, "strategy", 1, uses_source=True), TimedArm(clock, "svm", 1)]
    next(arm for arm in arms if arm.name == failing).fails_on = 2
    with pytest.raises(TrainingError, match="the loss is not finite"):
        run(clock, *arms)


def test_calls_that_prove_nothing_are_refused() -> None:
    clock = Clock()
    strategy, svm = TimedArm(clock, "strategy", 1, uses_source=True), TimedArm(clock, "svm", 1)
    with pytest.raises(
        UsageError, match=r"no arm without a source to compare with among probe; add the plain"
    ):
        run(clock, strategy, TimedArm(clock, "probe", 1, uses_source=True))
    with pytest.raises(UsageError, match=r"at least 3 different seeds are needed, found \[0, 1\]: --seeds 8"):
        run(clock, strategy, svm, seeds=(0, 1))
    with pytest.raises(UsageError, match="arms need different names, found strategy, svm, svm"):
        run(clock, strategy, svm, svm)


def test_overlap_is_the_share_of_labelled_examples_in_common() -> None:
    def trials(*trains: list[int]) -> Trials:
        draws = tuple(Draw(n, np.array(train), np.array([])) for n, train in enumerate(trains))
        return Trials(draws, (), {})

    assert trials([0, 1, 2, 3], [2, 3, 4, 5]).overlap == 0.5
    assert trials([0, 1], [0, 1], [0, 1]).overlap == 1.0
    assert trials([0, 1], [2, 3]).overlap == 0.0
    swapped = (Draw(0, np.array([0, 1]), np.array([2])), Draw(1, np.array([1, 2]), np.array([0])))
    assert Trials(swapped, (), {}).overlap == 1.0, "arms may fit on the validation part once they have chosen"
