"""Slips in a plan that was edited by hand are told with their line and with what was meant."""

from __future__ import annotations

import re

import pytest

from regraft.core.errors import PlanError
from regraft.plans import TrainStage, change_plan, plan_from_yaml

PLAN = """\
version: 3
models:
  student:
    source: packaged:efficientnet-lite0
streams:
  target: {}
stages:
- name: head
  kind: solve
  solver: ridge
- name: tune
  kind: train
  terms:
  - computes: supervised
    streams:
    - target
  - computes: supervised
    streams:
    - target
    weight:
      schedule: linear
      start: 1.0
      end: 0.0
  trainable:
  - head
  groups:
  - match:
    - '*'
    rate: 0.1
  stop:
    epochs: 3
"""


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("source: packaged", "sorce: packaged", "line 4, models.student.sorce: .* did you mean 'source'"),
        ("  target: {}", "  target: {bach: 3}", "line 6, streams.target.bach: .* did you mean 'batch'"),
        ("  target: {}", "  target: {mix: {mixupp: 1}}", "line 6, streams.target.mix.mixupp: .*'mixup'"),
        ("solver: ridge", "slover: ridge", "line 8, stages.head.solver: is missing"),
        ("solver: ridge", "slover: ridge", "line 10, stages.head.slover: .* did you mean 'solver'"),
        ("kind: solve", "kind: slove", "line 9, stages.head.kind: there is no 'slove'; .* 'solve'"),
        ("  kind: solve\n", "", "line 8, stages.head.kind: is missing; there are: solve, train, average"),
        ("linear", "liner", "line 21, stages.tune.terms.1.weight.schedule: Input should be 'linear'"),
        ("      end: 0.0\n", "", "line 20, stages.tune.terms.1.weight.end: is missing"),
        ("end: 0.0", "end: -1", "line 23, .*weight.end: .* greater than or equal to 0; got -1"),
        (
            "schedule: linear",
            "xyz: 3",
            "stages.tune.terms.1.weight.xyz: there is no such key; there are: begi",
        ),
        ("rate: 0.1", "rate: quick", "line 29, stages.tune.groups.0.rate: .*valid number.* or .*'auto'"),
        ("epochs: 3", "epochs: 3\n    epoch: 4", "line 32, stages.tune.stop.epoch: .* 'epochs'"),
        ("name: tune", "name: head", "line 11, stages.head.name: 'head' is a name that is taken"),
        (
            "    - target\n  - comp",
            "    - traget\n  - comp",
            "line 16, .*streams.0: names the stream 'traget'",
        ),
        ("  - computes: supervised\n", "  - supervised\n", "line 15, column 12: mapping values are not"),
    ],
)
def test_it_says_where_and_what_was_meant(right: str, wrong: str, message: str) -> None:
    assert right in PLAN
    with pytest.raises(PlanError, match=message):
        plan_from_yaml(PLAN.replace(right, wrong, 1))


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("    - '*'", "    - *", r"line 28, column \d.*begins with \* into quotes"),
        ("  trainable:\n  - head", "  trainable: [blocks.{1..3}]", "line 24, .*braces into quotes"),
        ("  - head\n", "\t- head\n", "line 25, .*spaces, not with tabs"),
        ("    rate: 0.1", "    rate: 0.1\n    rate: 0.2", "line 30: rate is said on line 29 already"),
        ("  target: {}", "  target: {}\n  target: {}", "line 7: target is said on line 6 already"),
    ],
)
def test_what_yaml_cannot_read_or_would_pass_over(right: str, wrong: str, message: str) -> None:
    assert right in PLAN
    with pytest.raises(PlanError, match=re.compile(message, re.DOTALL)):
        plan_from_yaml(PLAN.replace(right, wrong, 1))


def test_every_mistake_is_told_once() -> None:
    wrong = PLAN.replace("rate: 0.1", "rate: quick").replace("epochs: 3", "epoch: 3").replace("'*'", "3")
    with pytest.raises(PlanError) as raised:
        plan_from_yaml(wrong, origin="plan.yaml")
    first, *told = str(raised.value).splitlines()
    assert first == "plan.yaml does not hold:"
    places = [line.split(":")[0].split(", ")[1] for line in told]
    assert sorted(places) == sorted(set(places))
    assert set(places) == {
        "stages.tune.groups.0.match.0",
        "stages.tune.groups.0.rate",
        "stages.tune.stop.epoch",
    }


@pytest.mark.parametrize(("written", "value"), [("1e-3", 1e-3), ("2E+1", 20.0), ("-1.5e2", -150.0)])
def test_powers_of_ten_are_numbers(written: str, value: float) -> None:
    plan = plan_from_yaml(
        PLAN.replace(
            "  - computes: supervised\n", f"  - computes: supervised\n    options: {{a: {written}}}\n", 1
        )
    )
    assert isinstance(plan.stages[1], TrainStage)
    assert plan.stages[1].terms[0].options == {"a": value}


def test_changes_by_set_have_no_lines() -> None:
    with pytest.raises(PlanError, match=r"\n  stages\.tune\.terms\.0\.weight: .*greater than or equal"):
        change_plan(plan_from_yaml(PLAN), ["stages.tune.terms.0.weight=-1"])


@pytest.mark.parametrize("text", ["a: &a [*a]", "version: 2020-13-45"])
def test_what_no_plan_can_mean_is_a_plan_error(text: str) -> None:
    with pytest.raises(PlanError):
        plan_from_yaml(text)


def test_aliases_of_aliases_are_walked_once() -> None:
    nested = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 5))
    with pytest.raises(PlanError, match="a1"):
        plan_from_yaml(f"a0: &a0 [x]\n{nested}")


def test_a_wrong_stage_is_not_called_missing_as_well() -> None:
    stage = "{name: h, kind: solve, solvr: ridge}"
    text = f"models: {{student: {{source: a}}}}\nstreams: {{target: {{}}}}\nstages:\n- {stage}\n"
    with pytest.raises(PlanError) as caught:
        plan_from_yaml(text)
    assert "at least 1 item" not in str(caught.value)
    assert "solvr" in str(caught.value)
