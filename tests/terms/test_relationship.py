"""How target classes relate to source classes: sums written out by hand, and scikit-learn's regression."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from regraft.core.task_spec import TaskSpec
from regraft.tasks import make_task
from regraft.terms.relationship import TEMPERATURES, direct, fit_temperature, reverse
from regraft.terms.solvers import solve_logistic

TASK = make_task(TaskSpec("kind", "multiclass", ("a", "b", "c")))


def answers(count: int = 60, *, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """Logits of five source classes for three target classes, ``scale`` times too sure, and labels."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 3
    # Class a is source class 0 or 1, b is 2, c is 3 or 4; the source is right two times of three.
    options = torch.tensor([[0, 1], [2, 2], [3, 4]])[labels]
    wanted = options[torch.arange(count), torch.randint(2, (count,), generator=generator)]
    wrong = torch.randint(5, (count,), generator=generator)
    said = torch.where(torch.rand(count, generator=generator) < 2 / 3, wanted, wrong)
    logits = torch.nn.functional.one_hot(said, 5).float() * 3 + 0.3 * torch.randn(
        count, 5, generator=generator
    )
    return scale * logits, labels


def told_by_hand(given: np.ndarray, labels: np.ndarray, classes: int) -> float:
    """Each example's label, by the relationship of all others; weights of classes are those with it."""
    told = []
    for i, own in enumerate(labels):
        if (labels == own).sum() < 2:
            continue
        others = np.arange(len(labels)) != i
        related = [given[others & (labels == t)].mean(0) * (labels == t).sum() for t in range(classes)]
        posterior = related[own] / np.sum(related, axis=0)
        told.append(math.log((posterior * given[i]).sum()))
    return float(np.mean(told))


@pytest.mark.parametrize("scale", [0.5, 1.0, 4.0])
def test_the_temperature_is_the_one_that_tells_most(scale: float) -> None:
    logits, labels = answers(30, scale=scale)
    scores = [
        told_by_hand((logits / one).softmax(1).double().numpy(), labels.numpy(), 3) for one in TEMPERATURES
    ]
    assert fit_temperature(logits, labels, 3) == TEMPERATURES[int(np.argmax(scores))]


def test_answers_that_are_too_sure_are_softened_as_much() -> None:
    plain, labels = answers()
    once, twice = (fit_temperature(scale * plain, labels, 3) for scale in (1.0, 4.0))
    assert twice == pytest.approx(4 * once)
    assert TEMPERATURES[0] < once < twice < TEMPERATURES[-1]


def test_without_two_of_a_class_nothing_is_fitted() -> None:
    logits, _ = answers(4)
    assert fit_temperature(logits, torch.tensor([0, 1, 2, -1]), 3) == 1.0
    assert fit_temperature(logits, torch.full((4,), -1), 3) == 1.0


def test_the_reverse_relationship_is_bayes_rule_on_a_regression() -> None:
    logits, labels = answers()
    given = logits.softmax(1)
    found = reverse(given, labels, TASK)
    strength = solve_logistic(given.double().numpy(), labels.numpy(), TASK).history["chosen"]
    assert strength is not None
    solved = solve_logistic(given.double().numpy(), labels.numpy(), TASK).calibrated()
    said = np.eye(5) @ solved.weight.T + solved.bias
    forward = np.exp(said) / np.exp(said).sum(1, keepdims=True)
    joint = forward * given.double().mean(0).numpy()[:, None]
    assert np.allclose(found.numpy(), (joint / joint.sum(0)).T, atol=1e-6)
    assert torch.allclose(found.sum(1), torch.ones(3))


def test_both_relationships_find_the_classes_that_belong_together() -> None:
    logits, labels = answers(120)
    given = logits.softmax(1)
    plain = LogisticRegression(C=10.0).fit(given.numpy(), labels.numpy())
    told = plain.predict_proba(np.eye(5)).T * given.mean(0).numpy()
    theirs = told / told.sum(1, keepdims=True)
    for related in (direct(given, labels, 3), reverse(given, labels, TASK)):
        assert related[0, :2].sum() > 0.6
        assert related[1].argmax() == 2
        assert related[2, 3:].sum() > 0.6
    assert np.abs(reverse(given, labels, TASK).numpy() - theirs).max() < 0.1


def test_a_class_without_an_example_has_what_all_have() -> None:
    logits, labels = answers(20)
    given, few = logits.softmax(1), torch.where(labels == 2, -1, labels)
    known = given[few >= 0]
    for related in (direct(given, few, 3), reverse(given, few, TASK)):
        assert torch.allclose(related[2], known.mean(0), atol=1e-6)
    assert torch.allclose(direct(given, torch.full((20,), -1), 3), given.mean(0).expand(3, 5))
