"""Distillation: scipy's divergence, for every kind of output; features by their angle."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy

from regraft.core.errors import PlanError
from regraft.core.task_spec import TaskSpec
from regraft.tasks import make_task
from regraft.tasks.regression import Regression
from regraft.terms import find_term
from tests.terms.contexts import step

TASKS = {
    "kind": make_task(TaskSpec("kind", "multiclass", ("a", "b", "c"))),
    "tags": make_task(TaskSpec("tags", "multilabel", ("x", "y"))),
    "size": Regression(TaskSpec("size", "regression"), 3.0, 2.0),
}


def logits(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: 3 * torch.randn(5, task.outputs, generator=generator, dtype=torch.float64)
        for name, task in TASKS.items()
    }


OUTPUTS = {"student": logits(0), "teacher": logits(1), "second": logits(2), "third": logits(1)}


def value(
    output: str, rows: slice = slice(None), teachers: tuple[str, ...] = ("teacher",), **options: float
) -> float:
    term = find_term("distillation")(
        models=("student", *teachers), streams=("target",), outputs=(output,), options=options
    )
    return float(term(step(outputs=OUTPUTS, tasks=TASKS, size=5, rows=rows)).total)


def test_classes() -> None:
    student, teacher = (softmax(OUTPUTS[m]["kind"].numpy() / 3, axis=1) for m in ("student", "teacher"))
    assert value("kind", temperature=3.0) == pytest.approx(9 * entropy(teacher, student, axis=1).mean())


def test_labels() -> None:
    student, teacher = (OUTPUTS[m]["tags"].sigmoid().numpy() for m in ("student", "teacher"))
    each = entropy([teacher, 1 - teacher], [student, 1 - student], axis=0)
    assert value("tags", temperature=1) == pytest.approx(each.mean())


def test_numbers() -> None:
    apart = (OUTPUTS["student"]["size"] - OUTPUTS["teacher"]["size"])[:, 0] / 2
    assert value("size") == pytest.approx(float(apart.square().mean()) / 2)


def test_an_ensemble_speaks_with_the_mean_of_its_probabilities() -> None:
    both = ("teacher", "second")
    student, *teachers = (softmax(OUTPUTS[m]["kind"].numpy() / 3, axis=1) for m in ("student", *both))
    expected = 9 * entropy(np.mean(teachers, axis=0), student, axis=1).mean()
    assert value("kind", teachers=both, temperature=3.0) == pytest.approx(expected)
    student, *teachers = (OUTPUTS[m]["tags"].sigmoid().numpy() for m in ("student", *both))
    mean = np.mean(teachers, axis=0)
    each = entropy([mean, 1 - mean], [student, 1 - student], axis=0)
    assert value("tags", teachers=both, temperature=1) == pytest.approx(each.mean())
    sizes = [OUTPUTS[m]["size"][:, 0] / 2 for m in ("student", *both)]
    apart = sizes[0] - (sizes[1] + sizes[2]) / 2
    assert value("size", teachers=both) == pytest.approx(float(apart.square().mean()) / 2)


@pytest.mark.parametrize("output", list(TASKS))
def test_teachers_that_agree_are_one_teacher(output: str) -> None:
    assert value(output, teachers=("teacher", "third")) == pytest.approx(value(output), rel=1e-12)


def test_slices_add_up_and_a_teacher_like_the_student_costs_nothing() -> None:
    parts = sum(value("kind", rows) for rows in (slice(0, 3), slice(3, 5)))
    assert parts == pytest.approx(value("kind"))
    term = find_term("distillation")(
        models=("student", "student"), streams=("target",), outputs=(), options={}
    )
    assert float(term(step(outputs=OUTPUTS, tasks=TASKS, size=5)).total) == pytest.approx(0.0, abs=1e-12)


def test_it_reads_two_models() -> None:
    with pytest.raises(PlanError, match="reads 2 to 9 models and names student"):
        find_term("distillation")(models=("student",), streams=("target",), outputs=(), options={})


def test_features_are_compared_by_their_angle() -> None:
    features = {"student": torch.tensor([[3.0, 0.0], [0.0, 2.0]]), "teacher": torch.tensor([[1.0, 1.0]] * 2)}
    term = find_term("distil-features")(
        models=("student", "teacher"), streams=("target",), outputs=(), options={}
    )
    assert float(term(step(features=features, size=2)).total) == pytest.approx(1 - 0.5**0.5)
