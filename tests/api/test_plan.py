"""What a plan says after ``--set``: what is trained, and what has to follow from it."""

from __future__ import annotations

import pytest

import regraft as rg
from regraft.core.errors import PlanError
from regraft.core.task_spec import TaskSpec
from regraft.engine.freezing import decide_freeze
from regraft.engine.optimiser import make_optimiser
from regraft.engine.sets import planned_sets, trained_sets
from regraft.linking import Blueprint, Link, find_link
from regraft.plans import Plan, TrainStage
from regraft.tasks import make_task
from tests.strategies import tiny


@pytest.fixture(scope="module")
def link() -> Link:
    source = tiny.convolutional()
    return find_link(source, Blueprint(source, (make_task(TaskSpec("label", "binary", ("no", "yes"))),)))


def tune(plan: Plan) -> TrainStage:
    """The plan's train stage, which can be begun: every trained parameter has a group and every group one."""
    (stage,) = [stage for stage in plan.stages if isinstance(stage, TrainStage)]
    return stage


def begins(stage: TrainStage, link: Link) -> set[str]:
    model = link.load()
    freeze = decide_freeze(model, stage.trainable, stage.frozen_prefix)
    make_optimiser(model, freeze, stage.groups, stage.optimiser)
    return {name.split(".")[2] if name.startswith("trunk") else "head" for name in freeze.trainable}


def test_a_comma_list_of_blocks_is_trained_and_the_prefix_and_groups_follow(link: Link) -> None:
    stage = tune(rg.plan(link, "lpft:1", settings=["trainable=stages{1..2},head"]))
    assert stage.trainable == ("stages{1..2}", "head")
    assert stage.frozen_prefix == "stages0"
    assert [group.match for group in stage.groups] == [("head",), ("stages2",), ("stages{1..2}",)]
    assert begins(stage, link) == {"stages1", "stages2", "head"}


def test_groups_that_mean_nothing_any_more_go(link: Link) -> None:
    stage = tune(rg.plan(link, "lpft:3", settings=["trainable=stages2,head"]))
    assert [group.match for group in stage.groups] == [("head",), ("stages2",)]
    assert stage.frozen_prefix == "stages1"
    assert begins(tune(rg.plan(link, "lpft", settings=["trainable=head"])), link) == {"head"}
    assert begins(tune(rg.plan(link, "full", settings=["trainable=*.bias,head"])), link) == {
        *(f"stages{number}" for number in range(3)),
        "stem",
        "head",
    }


def test_what_is_given_by_hand_stays(link: Link) -> None:
    given = ["trainable=stages2,head", "frozen_prefix=stages0", "groups=[{match: ['*'], rate: 0.5}]"]
    stage = tune(rg.plan(link, "lpft:1", settings=given))
    assert stage.frozen_prefix == "stages0"
    assert [group.rate for group in stage.groups] == [0.5]


def test_random_views_stay_where_nothing_was_computed_once(link: Link) -> None:
    plan = rg.plan(link, "full", settings=["trainable=stages2,head"])
    assert tune(plan).frozen_prefix is None
    assert plan.streams["target"].views == 1


def test_a_block_that_is_none_is_named(link: Link) -> None:
    with pytest.raises(
        PlanError,
        match=r"trainable of stage 'tune': no layer is called 'stages9'; the blocks are stem, stages",
    ):
        rg.plan(link, "lpft", settings=["trainable=stages9"])


def test_sets_are_folded_by_block(link: Link) -> None:
    (sets,) = planned_sets(rg.plan(link, "lpft:2"), link.graft.skeleton())
    assert (sets.trained, sets.partly, sets.frozen) == (("stages{1..2}", "head"), (), ("stem", "stages0"))
    assert sets.computed_once == "stages0"
    model = link.load()
    block = 12 * 12 * 9 + 2 * 12 + 12 * 12 + 12
    assert sets.parameters == 2 * block + sum(value.numel() for value in model.heads.parameters())
    assert sets.total == sum(value.numel() for value in model.parameters())
    assert str(sets).startswith("Stage 'tune' trains stages{1..2}, head: ")
    assert str(sets).endswith("Frozen: stem, stages0, computed once up to stages0.")


def test_parts_of_blocks_are_said_to_be_parts(link: Link) -> None:
    stage = tune(rg.plan(link, "bitfit"))
    model = link.load()
    sets = trained_sets(stage, model, decide_freeze(model, stage.trainable, stage.frozen_prefix))
    assert (sets.trained, sets.partly, sets.frozen) == (("head",), ("stem", "stages{0..2}"), ())
    assert "trains head; a part of stem, stages{0..2}: " in str(sets)
    assert str(sets).endswith("Frozen: nothing.")
