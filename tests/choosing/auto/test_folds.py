"""Folds, values and several outputs."""

from __future__ import annotations

import numpy as np
import pytest

from regraft.choosing.auto.entrants import labels_per_class, names_in_order
from regraft.choosing.auto.folds import Fold, fold_seed, make_fold, own_examples
from regraft.choosing.auto.judging import SEVERAL, judge_values, measure_of
from regraft.choosing.auto.lengths import for_fold, shortened
from regraft.choosing.auto.scoreboard import Scoreboard
from regraft.core.task_spec import TaskSpec
from regraft.plans import TrainStage
from regraft.targets import Draw, Target
from regraft.tasks import make_task


@pytest.fixture(scope="module")
def target() -> Target:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 255, (90, 4, 4), dtype=np.uint8)
    return Target.from_arrays(pixels, np.array(["a", "b", "c"] * 30))


def test_a_fold_uses_only_the_runs_own_labels_and_judges_what_nothing_saw(target: Target) -> None:
    own = own_examples(target.draw(3, per_class=15))
    assert len(own) == 45
    fold = make_fold(target, own, 7, validation=0.25)
    parts = [fold.draw.train, fold.draw.validation, fold.judged]
    assert np.array_equal(np.sort(np.concatenate(parts)), own)
    assert len(fold.judged) == 9
    assert np.bincount(target.labels(fold.judged)["label"]).tolist() == [3, 3, 3]
    again = make_fold(target, own, 7, validation=0.25)
    assert np.array_equal(again.judged, fold.judged)
    assert not np.array_equal(make_fold(target, own, 8, validation=0.25).judged, fold.judged)


def test_seeds_of_folds_are_far_from_those_of_a_proof() -> None:
    seeds = [fold_seed(0, number) for number in range(5)]
    assert len(set(seeds)) == 5
    assert min(seeds) > 1000


def test_values_are_those_of_the_deciding_metric_or_the_calibrated_loss(target: Target) -> None:
    judged = target.pool[:12]
    labels = target.labels(judged)["label"]
    task = make_task(target.tasks[0])
    assert measure_of([task]).name == "accuracy"
    logits = np.eye(3, dtype=np.float32)[labels]
    logits[:3] = np.roll(logits[:3], 1, axis=1)
    values = judge_values({"label": task}, target, judged, {"label": logits})["label"]
    assert values.tolist() == [0.0] * 3 + [1.0] * 9
    number = make_task(TaskSpec("y", "regression"))
    assert measure_of([number]).figure(-4.0) == 2.0  # the root of the mean squared error
    several = make_task(TaskSpec("m", "multilabel", ("a", "b")))
    assert measure_of([several]).name == "calibrated loss"
    assert measure_of([task, number]) is SEVERAL


def test_several_outputs_count_alike_in_units_of_the_probe() -> None:
    board = Scoreboard("probe")
    board.folds.append(Fold(Draw(0, np.arange(2), np.arange(2)), np.array([5, 6, 7, 8])))
    nan = np.nan
    board.add("probe", 0, {"a": np.array([0.0, 1.0, 0.0, 1.0]), "b": np.array([-100.0, nan, -300.0, nan])})
    board.add("lpft", 0, {"a": np.array([1.0, 1.0, 0.0, 1.0]), "b": np.array([-100.0, nan, -100.0, nan])})
    table = board.table(["probe", "lpft"])
    # a: mean 0.5, deviation 0.5; b: mean -200, deviation 100.
    assert table.values.tolist() == [[0.0, 1.0, -1.0, 1.0], [1.0, 1.0, 0.0, 1.0]]
    assert table.examples.tolist() == [5, 6, 7, 8]


def test_the_order_of_entrants_follows_labels_per_class(target: Target) -> None:
    assert names_in_order(5, joint=False)[:2] == ("probe", "l2sp")
    assert names_in_order(50, joint=True)[:3] == ("probe", "joint", "lpft")
    assert names_in_order(50, joint=True)[-1] == "full"


def test_a_plan_is_shortened_and_scaled_to_the_labels_of_a_fold(target: Target) -> None:
    from tests.choosing.auto.test_race import plan_of

    plan = plan_of("lpft", True)
    assert labels_per_class(target, plan) == pytest.approx(len(target.pool) / 3)
    assert shortened(plan, 1.0, train=160) is plan

    def stop(one: object) -> tuple[int | None, int | None]:
        assert isinstance(one, TrainStage)
        return one.stop.epochs, one.stop.steps

    half = shortened(plan, 0.5, train=160)
    assert stop(half.stages[1]) == (10, 50)
    assert stop(for_fold(half, 0.8).stages[1]) == (10, 40)
    assert for_fold(plan, 0.8) == plan


def test_the_target_of_a_test_is_not_used_by_folds(target: Target) -> None:
    own = own_examples(target.draw(0))
    fold = make_fold(target, own, 1, validation=0.2)
    seen = np.concatenate([fold.draw.train, fold.draw.validation, fold.judged])
    assert not set(seen.tolist()) & set(target.test.tolist())
