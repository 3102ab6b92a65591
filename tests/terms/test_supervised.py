"""The supervised term: each task's own loss, over the examples that have a label."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from regraft.core.errors import PlanError
from regraft.core.task_spec import TaskSpec
from regraft.tasks import Task, make_task
from regraft.terms.supervised import Supervised
from regraft.terms.term import Partner, StepContext, TermValue

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


def context_of(
    tasks: dict[str, Task],
    logits: dict[str, torch.Tensor],
    labels: dict[str, torch.Tensor],
    rows: slice = slice(None),
    partner: tuple[torch.Tensor, float] | None = None,
) -> StepContext:
    """The context for some rows of a batch, as the engine makes it; frequencies are those of the batch."""
    known = {name: int(tasks[name].present(given.numpy()).sum()) for name, given in labels.items()}
    counts = {
        name: torch.bincount(given[given >= 0], minlength=len(tasks[name].spec.classes)).float()
        for name, given in labels.items()
        if tasks[name].spec.kind in ("binary", "multiclass")
    }
    mixed = {}
    if partner is not None:
        permutation, share = partner
        theirs = {name: values[permutation][rows] for name, values in labels.items()}
        mixed = {"target": Partner(theirs, share)}
    return StepContext(
        lambda model, stream: {name: values[rows] for name, values in logits.items()},
        {"target": {name: values[rows] for name, values in labels.items()}},
        tasks,
        {"target": 4},
        {"target": known},
        whole={"target": labels},
        partners=mixed,
        frequencies={"target": counts},
    )


def term(outputs: tuple[str, ...] = (), **options: object) -> Supervised:
    return Supervised(models=("student",), streams=("target",), outputs=outputs, options=options)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.4])
@pytest.mark.parametrize("weights", [None, {"a": 3.0, "b": 0.5}, {"a": 2.0, "b": 2.0, "c": 2.0}])
def test_smoothing_and_class_weights_are_those_of_torch(
    tasks: dict[str, Task],
    logits: dict[str, torch.Tensor],
    smoothing: float,
    weights: dict[str, float] | None,
) -> None:
    labels = {"kind": torch.tensor([2, 0, -1, 1])}
    found = term(("kind",), smoothing=smoothing, class_weights=weights)(context_of(tasks, logits, labels))
    weight = None if weights is None else torch.tensor([weights.get(name, 1.0) for name in "abc"])
    expected = functional.cross_entropy(
        logits["kind"], labels["kind"], weight=weight, ignore_index=-1, label_smoothing=smoothing
    )
    assert found.total.item() == pytest.approx(expected.item(), abs=1e-6)


def test_balanced_weights_are_those_of_scikit_learn(
    tasks: dict[str, Task], logits: dict[str, torch.Tensor]
) -> None:
    from sklearn.utils.class_weight import compute_class_weight

    labels = KNOWN["kind"]
    found = term(("kind",), class_weights="balanced")(context_of(tasks, logits, {"kind": labels}))
    weight = compute_class_weight("balanced", classes=np.arange(3), y=labels.numpy())
    expected = functional.cross_entropy(logits["kind"], labels, weight=torch.tensor(weight).float())
    assert found.total.item() == pytest.approx(expected.item(), abs=1e-6)
    equal = term(("pair",), class_weights="balanced")(context_of(tasks, logits, {"pair": KNOWN["pair"]}))
    plain = value(tasks, logits, KNOWN, "pair")
    assert equal.total.item() == pytest.approx(plain.total.item(), abs=1e-6)


def test_smoothed_labels_of_many_classes_move_towards_a_half(
    tasks: dict[str, Task], logits: dict[str, torch.Tensor]
) -> None:
    labels = KNOWN["tags"].clone()
    labels[1] = float("nan")
    found = term(("tags",), smoothing=0.2)(context_of(tasks, logits, {"tags": labels}))
    kept = torch.tensor([0, 2, 3])
    soft = 0.8 * labels[kept] + 0.1
    expected = functional.binary_cross_entropy_with_logits(logits["tags"][kept], soft)
    assert found.total.item() == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize("options", [{}, {"smoothing": 0.1}, {"class_weights": "balanced"}])
def test_mixed_examples_have_two_labels_and_slices_add_up(
    tasks: dict[str, Task], logits: dict[str, torch.Tensor], options: dict[str, object]
) -> None:
    names = ("pair", "kind") if "class_weights" in options else ("pair", "kind", "tags", "size")
    names = tuple(name for name in names if not options or tasks[name].spec.kind != "regression")
    labels = {name: KNOWN[name].clone() for name in names}
    for given, name in ((labels[name], name) for name in names):
        given[1] = MISSING[name]
    partners, share = torch.tensor([2, 0, 3, 1]), 0.3
    made = term(names, **options)
    whole = made(context_of(tasks, logits, labels, partner=(partners, share)))
    sides = [
        made(context_of(tasks, logits, theirs)).total
        for theirs in (labels, {name: values[partners] for name, values in labels.items()})
    ]
    assert whole.total.item() == pytest.approx((share * sides[0] + (1 - share) * sides[1]).item(), abs=1e-6)
    parts = [
        made(context_of(tasks, logits, labels, rows, (partners, share))).total
        for rows in (slice(0, 1), slice(1, 4))
    ]
    assert whole.total.item() == pytest.approx(sum(part.item() for part in parts), abs=1e-6)
    unmixed = made(context_of(tasks, logits, labels, partner=(partners, 1.0))).total
    assert unmixed.item() == pytest.approx(made(context_of(tasks, logits, labels)).total.item(), abs=1e-7)


@pytest.mark.parametrize(
    ("options", "outputs", "message"),
    [
        ({"smooth": 0.1}, (), "has no option smooth; it has: smoothing, class_weights"),
        ({"smoothing": 1.0}, (), "a share from 0 up to 1"),
        ({"class_weights": "equal"}, (), "'balanced' or a mapping"),
        ({"class_weights": {"a": -1}}, (), "weights from 0"),
        ({"smoothing": 0.1}, (), "'size' is for regression"),
        ({"class_weights": "balanced"}, ("kind", "tags"), "'tags' is for multilabel"),
        ({"class_weights": {"z": 2.0}}, ("kind",), "names z, and the classes are a, b, c"),
        ({}, ("other",), "looks at the output other; the data have: pair, kind, tags, size"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    tasks: dict[str, Task], options: dict[str, object], outputs: tuple[str, ...], message: str
) -> None:
    with pytest.raises(PlanError, match=message):
        term(outputs, **options).check(tasks)
