"""The Plan says everything that the design lists, comes back from YAML, and complains all at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from regraft.core.errors import PlanError
from regraft.core.hashing import hash_json
from regraft.plans import (
    GroupSpec,
    ModelSpec,
    Plan,
    SolveStage,
    StopSpec,
    StreamSpec,
    TermSpec,
    TrainStage,
    change_plan,
    plan_from_yaml,
    plan_hash,
    plan_to_yaml,
    read_plan,
    write_plan,
)

EVERYTHING = """
version: 1
strategy: by hand
seed: 3
draw: {validation: 0.25, per_class: 20}
models:
  student: {source: "packaged:efficientnet-lite0", options: {size: 96}, waive: ["heads.*"]}
  teacher: {source: "packaged:efficientnet-lite2"}
  slow: {source: "packaged:efficientnet-lite0", average_of: student, decay: 0.99}
streams:
  target: {batch: 16, views: 2}
  source: {reads: source, data: photos/, batch: 16}
  rest: {reads: unlabelled, data: more/, labelled: false}
stages:
- {name: relations, kind: solve, solver: category-relationship, produces: [relationship]}
- name: adapt
  kind: train
  reads: [relationship]
  edits: [{edit: lora, model: student, match: ["blocks.*"], options: {rank: 8}}]
  trainable: ["blocks.{9..11}", head]
  frozen_prefix: blocks.8
  groups: [{match: [head], rate: 0.001}, {match: ["*"], rate: 0.0001, weight_decay: 0.01}]
  terms:
  - {computes: supervised, streams: [target], models: [student], weight: {learned: uncertainty}}
  - {computes: supervised, streams: [source], models: [student], weight: {schedule: cosine, start: 1, end: 0}}
  - computes: distillation
    streams: [rest]
    models: [student, teacher]
    weight: 0.5
    options: {temperature: 2}
  - {computes: co-tuning, streams: [target], models: [student], reads: [relationship]}
  combine: {rule: pcgrad}
  stop: {epochs: 5, patience: 2}
  produces: [pseudo-labels]
- {name: soup, kind: average, of: [initial, adapt], rule: interpolate, options: {alpha: 0.5}}
- {name: temperature, kind: solve, solver: temperature, reads: [pseudo-labels]}
"""


def small_plan() -> Plan:
    return Plan(
        strategy="lpft",
        models={"student": ModelSpec(source="packaged:efficientnet-lite0")},
        streams={"target": StreamSpec()},
        stages=(
            SolveStage(name="head", solver="ridge"),
            TrainStage(
                name="tune",
                terms=(TermSpec(computes="supervised", streams=("target",)),),
                groups=(GroupSpec(match=("*",), rate=1e-3),),
                stop=StopSpec(epochs=3),
            ),
        ),
    )


def test_everything_that_the_design_lists_can_be_said() -> None:
    plan = plan_from_yaml(EVERYTHING)
    assert [stage.kind for stage in plan.stages] == ["solve", "train", "average", "solve"]
    assert plan_from_yaml(plan_to_yaml(plan)) == plan


def test_a_plan_comes_back_from_disk(tmp_path: Path) -> None:
    plan = small_plan()
    write_plan(plan, tmp_path / "plan.yaml")
    assert read_plan(tmp_path / "plan.yaml") == plan
    assert plan_hash(read_plan(tmp_path / "plan.yaml")) == plan_hash(plan)


def test_words_that_look_like_numbers_stay_words() -> None:
    plan = small_plan()
    student = plan.models["student"].model_copy(update={"options": {"revision": "12e45", "column": "1e3"}})
    plan = plan.model_copy(update={"models": {"student": student}})
    assert plan_from_yaml(plan_to_yaml(plan)) == plan


def test_a_hash_says_what_a_plan_says_and_not_what_it_could() -> None:
    said = small_plan().model_dump(mode="json", exclude_defaults=True)
    assert plan_hash(small_plan()) == hash_json({"version": 3, **said})


def test_yaml_leaves_defaults_out_and_keeps_the_version() -> None:
    text = plan_to_yaml(small_plan())
    assert text.startswith("version: 3\nstrategy: lpft\n")
    assert "betas" not in text


def test_all_problems_are_reported_together() -> None:
    broken = EVERYTHING.replace("epochs: 5", "epochz: 5").replace("seed: 3", "seed: -3")
    with pytest.raises(PlanError, match=r"(?s)seed: .*greater than.*epochz: there is no such key"):
        plan_from_yaml(broken)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("streams: [rest]", "streams: [nowhere]", "names the stream 'nowhere'"),
        ("models: [student, teacher]", "models: [student, nobody]", "names the model 'nobody'"),
        ("of: [initial, adapt]", "of: [initial, later]", "names the stage 'later'"),
        ("reads: [relationship]}", "reads: [fisher]}", "names the artefact 'fisher'"),
        ("{epochs: 5, patience: 2}", "{patience: 2}", "has to end"),
        ("name: soup", "name: adapt", "a name that is taken"),
        ("average_of: student", "average_of: slow", "names the model 'slow'"),
    ],
)
def test_references_have_to_exist(before: str, after: str, message: str) -> None:
    assert before in EVERYTHING
    with pytest.raises(PlanError, match=message):
        plan_from_yaml(EVERYTHING.replace(before, after))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version: 4\nstages: []", "has version 4; this regraft reads versions 1, 2 and 3"),
        ("- a\n- b", "holds no plan"),
        ("a: [", "is no YAML"),
        ("!!python/object/apply:os.system ['true']", "is no YAML"),
    ],
)
def test_what_is_no_plan_is_refused(text: str, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        plan_from_yaml(text)


def test_a_plan_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="cannot be read"):
        read_plan(tmp_path / "none.yaml")


def test_settings_reach_into_stages() -> None:
    plan = change_plan(
        small_plan(),
        ["seed=7", "stop.epochs=9", "stages.tune.groups.0.rate=1e-4", "tune.trainable=head"][:3],
    )
    tune = plan.stages[1]
    assert isinstance(tune, TrainStage)
    assert (plan.seed, tune.stop.epochs, tune.groups[0].rate) == (7, 9, 1e-4)


@pytest.mark.parametrize(
    ("setting", "found"),
    [
        ("streams.target.augment.mirror=0", lambda plan: plan.streams["target"].augment.mirror == 0),
        ("streams.target.augment.policy=rand", lambda plan: plan.streams["target"].augment.policy == "rand"),
        ("streams.target.mix.mixup=0.2", lambda plan: plan.streams["target"].mix.mixup == 0.2),
        ("schedule.name=one-cycle", lambda plan: plan.stages[1].schedule.name == "one-cycle"),
        ("terms.0.options.smoothing=0.1", lambda plan: plan.stages[1].terms[0].options == {"smoothing": 0.1}),
    ],
)
def test_settings_reach_what_version_two_says(setting: str, found: Callable[[Plan], bool]) -> None:
    plan = change_plan(small_plan(), [setting])
    assert found(plan)
    assert plan_from_yaml(plan_to_yaml(plan)) == plan


@pytest.mark.parametrize("version", [1, 2])
def test_earlier_versions_mean_what_they_meant_and_are_written_as_three(version: int) -> None:
    text = plan_to_yaml(small_plan())
    old = text.replace("version: 3", f"version: {version}")
    assert old != text
    assert plan_from_yaml(old) == small_plan()
    assert plan_to_yaml(plan_from_yaml(old)) == text


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('slow: {source: "packaged:efficientnet-lite0", ', "slow: {", None),
        ("average_of: student, decay", "decay", "decay is for a moving average"),
        ('teacher: {source: "packaged:efficientnet-lite2"}', "teacher: {}", "a model has a source"),
        ("batch: 16, views: 2", "augment: {crop: 0}", "crop goes from 0.05 to 1"),
        ("batch: 16, views: 2", "augment: {twist: 1}", "augment.twist"),
        ("patience: 2", "judge: slow", None),
        ("patience: 2", "judge: teacher", "names the model 'teacher'; there is: slow"),
    ],
)
def test_what_version_two_adds_is_checked(before: str, after: str, message: str | None) -> None:
    assert before in EVERYTHING
    text = EVERYTHING.replace(before, after)
    if message is None:
        assert plan_from_yaml(plan_to_yaml(plan_from_yaml(text))) == plan_from_yaml(text)
        return
    with pytest.raises(PlanError, match=message):
        plan_from_yaml(text)


def test_a_list_is_made_of_a_single_value() -> None:
    tune = change_plan(small_plan(), ["trainable=head"]).stages[1]
    assert isinstance(tune, TrainStage)
    assert tune.trainable == ("head",)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("blocks.{9..11},head", ("blocks.{9..11}", "head")),
        ("*.bias, head", ("*.bias", "head")),
        ("{1..3},head,", ("{1..3}", "head")),
        ("[lora, head]", ("lora", "head")),
    ],
)
def test_a_list_of_patterns_may_be_written_with_commas(given: str, found: tuple[str, ...]) -> None:
    tune = change_plan(small_plan(), [f"trainable={given}"]).stages[1]
    assert isinstance(tune, TrainStage)
    assert tune.trainable == found


def test_commas_part_numbers_but_not_regular_expressions() -> None:
    plan = change_plan(small_plan(), ["schedule.milestones=0.25,0.5", "models.student.map=a{1,2}=>b"])
    assert plan.stages[1].schedule.milestones == (0.25, 0.5)  # type: ignore[union-attr]
    assert plan.models["student"].map == ("a{1,2}=>b",)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("epochs", "wants KEY=VALUE"),
        ("stop.epoch=3", "has no such key"),
        ("stop.epochs=many", "stop.epochs: Input should be a valid integer"),
    ],
)
def test_settings_that_do_not_fit(setting: str, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        change_plan(small_plan(), [setting])
