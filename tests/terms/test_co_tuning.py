"""Co-Tuning: the relationship and the loss, written out by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from regraft.core.errors import PlanError
from regraft.core.task_spec import TaskSpec
from regraft.tasks import make_task
from regraft.terms import StageContext, Term, find_term
from regraft.terms.co_tuning import CoTuning
from regraft.terms.relationship import fit_temperature, reverse
from regraft.terms.term import Partner
from tests.terms.contexts import step

TASKS = {"kind": make_task(TaskSpec("kind", "multiclass", ("a", "b", "c")))}
HEAD = nn.Linear(2, 4)
FEATURES = torch.tensor([[1.0, 0.0], [3.0, 1.0], [0.0, 2.0], [1.0, 1.0]])
LABELS = torch.tensor([0, 0, 1, -1])


def made(**options: Any) -> Term:
    return find_term("co-tuning")(
        models=("student", "source"), streams=("target",), outputs=(), options=options
    )


def prepared(kind: str = "multiclass", **options: Any) -> CoTuning:
    term = made(**options)
    assert isinstance(term, CoTuning)
    stage = StageContext(
        tasks=TASKS,
        heads=lambda model: {"native": HEAD},
        specs=lambda model: {"native": TaskSpec("native", kind, tuple("wxyz"))},  # type: ignore[arg-type]
        width=lambda model: 2,
        features=lambda model, stream: (FEATURES, {"kind": LABELS}),
    )
    term.own = term.make_module(stage)
    term.prepare(stage)
    return term


def test_a_class_is_called_what_its_examples_are_called() -> None:
    related = prepared().related["kind"][0]
    given = HEAD(FEATURES).softmax(1)
    expected = torch.stack([given[:2].mean(0), given[2], given[:3].mean(0)])
    assert torch.allclose(related, expected)


def test_it_is_the_cross_entropy_of_the_copied_head() -> None:
    term = prepared()
    assert isinstance(term.own, nn.ModuleList)
    with torch.no_grad():
        term.own[0].weight.add_(0.3)
    context = step(
        features={"student": FEATURES}, tasks=TASKS, size=4, labels={"kind": LABELS}, known={"kind": 3}
    )
    value = term(context)
    logs = term.own[0](FEATURES).log_softmax(1)
    wanted = term.related["kind"][0][torch.tensor([0, 0, 1])]
    expected = -(wanted * logs[:3]).sum().item() / 3
    assert value.total.item() == pytest.approx(expected, rel=1e-5)
    assert value.per_example[3] == 0.0
    mixed = step(
        features={"student": FEATURES},
        tasks=TASKS,
        size=4,
        labels={"kind": LABELS},
        known={"kind": 3},
        partners={"target": Partner({"kind": LABELS}, 0.3)},
    )
    assert term(mixed).total.item() == pytest.approx(value.total.item(), rel=1e-6)
    value.total.backward()
    assert HEAD.weight.grad is None
    assert term.own[0].weight.grad is not None


def test_what_has_no_exclusive_classes_is_refused() -> None:
    with pytest.raises(PlanError, match="no head for exclusive classes"):
        prepared("multilabel")
    with pytest.raises(PlanError, match="of the kind binary or multiclass, and size is for regression"):
        made().check({"size": make_task(TaskSpec("size", "regression"))})


def test_what_is_no_option_is_refused() -> None:
    with pytest.raises(PlanError, match="is direct or reverse; got 'both'"):
        made(relationship="both")
    with pytest.raises(PlanError, match="temperature is a number above 0"):
        made(temperature=0)


def test_the_temperature_softens_what_the_source_says() -> None:
    given = (HEAD(FEATURES) / 3).softmax(1)
    related = prepared(temperature=3).related["kind"][0]
    assert torch.allclose(related[0], given[:2].mean(0))
    chosen = fit_temperature(HEAD(FEATURES).detach(), LABELS, 3)
    expected = (HEAD(FEATURES) / chosen).softmax(1)[:2].mean(0)
    assert torch.allclose(prepared(temperature="auto").related["kind"][0][0], expected)


def test_the_relationship_can_be_turned_round() -> None:
    related = prepared(relationship="reverse").related["kind"][0]
    given = HEAD(FEATURES).softmax(1)
    assert torch.equal(related, reverse(given.detach(), LABELS, TASKS["kind"]))
    assert torch.allclose(related.sum(1), torch.ones(3))
