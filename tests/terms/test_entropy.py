"""The entropy term: what scipy gives, for outputs with classes only."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import bernoulli, entropy

from regraft.core.errors import PlanError
from regraft.core.task_spec import TaskSpec
from regraft.tasks import make_task
from regraft.terms import Entropy, StepContext

TASKS = {
    "kind": make_task(TaskSpec("kind", "multiclass", ("a", "b", "c"))),
    "tags": make_task(TaskSpec("tags", "multilabel", ("x", "y"))),
    "size": make_task(TaskSpec("size", "regression")),
}
LOGITS = {
    "kind": torch.tensor([[2.0, 0.0, -1.0], [0.0, 0.0, 0.0], [90.0, 0.0, 0.0]]),
    "tags": torch.tensor([[0.0, 3.0], [-80.0, 80.0], [1.0, -1.0]]),
}


def context(rows: slice = slice(None)) -> StepContext:
    return StepContext(
        lambda model, stream: {name: values[rows] for name, values in LOGITS.items()},
        {},
        TASKS,
        {"rest": 3},
        {},
    )


def term(*outputs: str) -> Entropy:
    return Entropy(models=("student",), streams=("rest",), outputs=outputs, options={})


def test_it_is_the_mean_entropy_of_the_predictions() -> None:
    classes = entropy(LOGITS["kind"].double().softmax(1).numpy(), axis=1).mean()
    assert term("kind")(context()).total.item() == pytest.approx(classes, abs=1e-6)
    labels = bernoulli.entropy(LOGITS["tags"].double().sigmoid().numpy()).mean()
    assert term("tags")(context()).total.item() == pytest.approx(labels, abs=1e-6)
    both = term("kind", "tags")
    whole = both(context())
    assert whole.total.item() == pytest.approx(classes + labels, abs=1e-6)
    assert torch.isfinite(whole.per_example).all()
    parts = [both(context(rows)).total.item() for rows in (slice(0, 2), slice(2, 3))]
    assert whole.total.item() == pytest.approx(sum(parts), abs=1e-6)


def test_numbers_have_none() -> None:
    with pytest.raises(PlanError, match="size is for regression"):
        term().check(TASKS)
    term("kind", "tags").check(TASKS)
