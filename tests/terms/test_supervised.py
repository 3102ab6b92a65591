"""The supervised term: each task's own loss, over the examples that have a label."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from regraft.core.task_spec import TaskSpec
from regraft.tasks import Task, make_task
from regraft.terms.supervised import Supervised
from regraft.terms.term import StepContext, TermValue

SPECS = (
    TaskSpec("pair", "binary", ("no", "yes")),
    TaskSpec("kind", "multiclass", ("a", "b", "c")),
    TaskSpec("tags", "multilabel", ("x", "y")),
    TaskSpec("size", "regression"),
)
KNOWN = {
    "pair": torch.tensor([0, 1, 1, 0]),
    "kind": torch.tensor([2, 0, 1, 1]),
    "tags": torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0], [0.0, 1.0]]),
    "size": torch.tensor([1.0, 2.0, 3.0, 4.0]),
}
MISSING = {"pair": -1, "kind": -1, "tags": float("nan"), "size": float("nan")}


@pytest.fixture(scope="module")
def tasks() -> dict[str, Task]:
    return {spec.name: make_task(spec).fitted(KNOWN[spec.name].numpy()) for spec in SPECS}


@pytest.fixture(scope="module")
def logits(tasks: dict[str, Task]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(4, task.outputs, generator=generator) for name, task in tasks.items()}


def value(
    tasks: dict[str, Task],
    logits: dict[str, torch.Tensor],
    labels: dict[str, torch.Tensor],
    *outputs: str,
) -> TermValue:
    term = Supervised(models=("student",), streams=("target",), outputs=outputs, options={})
    known = {name: int(tasks[name].present(given.numpy()).sum()) for name, given in labels.items()}
    sizes = {"target": max(len(values) for values in labels.values())}
    return term(
        StepContext(lambda model, stream: logits, {"target": labels}, tasks, sizes, {"target": known})
    )


def test_a_class_output_costs_its_mean_cross_entropy(
    tasks: dict[str, Task], logits: dict[str, torch.Tensor]
) -> None:
    for name in ("pair", "kind"):
        expected = functional.cross_entropy(logits[name], KNOWN[name])
        assert value(tasks, logits, KNOWN, name).total == pytest.approx(expected.item(), abs=1e-6)


def test_outputs_are_summed_and_examples_add_up_to_the_total(
    tasks: dict[str, Task], logits: dict[str, torch.Tensor]
) -> None:
    whole = value(tasks, logits, KNOWN)
    parts = [value(tasks, logits, KNOWN, spec.name).total for spec in SPECS]
    assert whole.total.item() == pytest.approx(sum(part.item() for part in parts), abs=1e-5)
    assert whole.per_example.shape == (4,)
    assert whole.per_example.sum().item() == pytest.approx(whole.total.item(), abs=1e-5)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.kind)
def test_an_example_without_a_label_counts_for_nothing(
    tasks: dict[str, Task], logits: dict[str, torch.Tensor], spec: TaskSpec
) -> None:
    labels = KNOWN[spec.name].clone()
    labels[1] = MISSING[spec.name]
    kept = torch.tensor([0, 2, 3])
    predicted = logits[spec.name].clone().requires_grad_()
    found = value(tasks, {spec.name: predicted}, {spec.name: labels}, spec.name)
    alone = value(tasks, {spec.name: logits[spec.name][kept]}, {spec.name: labels[kept]}, spec.name)
    assert found.total.item() == pytest.approx(alone.total.item(), abs=1e-6)
    assert found.per_example[1] == 0
    found.total.backward()
    assert predicted.grad is not None
    assert torch.isfinite(predicted.grad).all()
    assert (predicted.grad[1] == 0).all()


def test_a_batch_without_any_label_costs_nothing_and_has_a_finite_gradient(tasks: dict[str, Task]) -> None:
    for spec in SPECS:
        labels = torch.full_like(KNOWN[spec.name], MISSING[spec.name])
        predicted = torch.randn(4, tasks[spec.name].outputs, requires_grad=True)
        found = value(tasks, {spec.name: predicted}, {spec.name: labels}, spec.name)
        found.total.backward()
        assert found.total.item() == 0
        assert predicted.grad is not None
        assert np.isfinite(predicted.grad.numpy()).all()
