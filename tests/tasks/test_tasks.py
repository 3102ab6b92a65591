import numpy as np
import pytest
import torch
from torch.nn import functional

from regraft.core.errors import UsageError
from regraft.core.task_spec import TaskSpec
from regraft.tasks import Task, make_task
from regraft.tasks.regression import Regression, RegressionHead

SPECS = (
    TaskSpec("defect", "binary", ("no", "yes")),
    TaskSpec("leaf", "multiclass", ("ash", "elm", "oak")),
    TaskSpec("tags", "multilabel", ("a", "b", "c")),
    TaskSpec("age", "regression"),
)
COUNT = 12


def labels_of(task: Task) -> np.ndarray:
    """Labels of 12 examples, the last of which is missing."""
    random = np.random.default_rng(0)
    if task.spec.kind == "regression":
        return np.r_[random.normal(50, 10, COUNT - 1), np.nan].astype(np.float32)
    if task.spec.kind == "multilabel":
        rows = random.integers(0, 2, (COUNT, task.outputs)).astype(np.float32)
        rows[-1] = np.nan
        return rows
    return np.r_[random.integers(0, task.outputs, COUNT - 1), -1]


@pytest.fixture(params=SPECS, ids=lambda spec: spec.kind)
def task(request: pytest.FixtureRequest) -> Task:
    return make_task(request.param)


def test_a_missing_label_has_no_loss_and_no_gradient(task: Task) -> None:
    labels = labels_of(task)
    logits = torch.randn(COUNT, task.outputs, requires_grad=True)
    losses = task.loss(logits, torch.from_numpy(labels))
    losses.sum().backward()
    assert losses.shape == (COUNT,)
    assert losses[-1] == 0
    assert (losses[:-1] > 0).all()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[-1] == 0).all()
    assert task.present(labels).tolist() == [True] * (COUNT - 1) + [False]


def test_the_conformance_of_shapes(task: Task) -> None:
    labels = labels_of(task)[:-1]
    logits = np.random.default_rng(1).normal(size=(COUNT - 1, task.outputs)).astype(np.float32)
    scores = task.scores(logits)
    assert scores.dtype == np.float64
    assert task.regressand(labels).shape == (COUNT - 1, task.outputs)
    assert task.regressand(labels).dtype == np.float64
    assert task.per_example(scores, labels).shape == (COUNT - 1,)
    assert all(isinstance(metric.compute(scores, labels), float) for metric in task.metrics)
    decoded = task.decode(scores)
    assert len(decoded) == COUNT - 1
    assert {row["task"] for row in decoded} == {task.spec.kind}
    assert task.reads == "pooled"


def test_a_filled_head_gives_the_solution(task: Task) -> None:
    fitted = task.fitted(labels_of(task))
    head = fitted.head(5)
    assert not head.weight.any()
    assert not head.bias.any()
    weight, bias = torch.randn(task.outputs, 5), torch.randn(task.outputs)
    fitted.fill_head(head, weight, bias)
    features = torch.randn(7, 5)
    torch.testing.assert_close(head(features), features @ weight.T + bias, rtol=1e-4, atol=1e-4)


def test_a_head_on_the_meta_device_allocates_nothing(task: Task) -> None:
    with torch.device("meta"):
        head = task.head(5)
    assert all(parameter.is_meta for parameter in head.parameters())
    assert all(buffer.is_meta for buffer in head.buffers())


def test_losses_equal_torch() -> None:
    leaf, tags = make_task(SPECS[1]), make_task(SPECS[2])
    logits, labels = torch.randn(9, 3), torch.randint(0, 3, (9,))
    torch.testing.assert_close(leaf.loss(logits, labels).mean(), functional.cross_entropy(logits, labels))
    rows = torch.randint(0, 2, (9, 3)).float()
    torch.testing.assert_close(
        tags.loss(logits, rows).mean(), functional.binary_cross_entropy_with_logits(logits, rows)
    )


def test_scores_equal_torch() -> None:
    logits = torch.randn(9, 3)
    np.testing.assert_allclose(make_task(SPECS[1]).scores(logits.numpy()), logits.softmax(1), atol=1e-6)
    np.testing.assert_allclose(make_task(SPECS[2]).scores(logits.numpy()), logits.sigmoid(), atol=1e-6)
    huge = make_task(SPECS[1]).scores(np.array([[1e4, -1e4, 0.0]]))
    assert huge.tolist() == [[1.0, 0.0, 0.0]]


def test_decoding_says_labels_probabilities_and_values() -> None:
    defect, _, tags, age = (make_task(spec) for spec in SPECS)
    assert defect.decode(np.array([[0.25, 0.75]])) == [
        {"task": "binary", "label": "yes", "probabilities": {"no": 0.25, "yes": 0.75}}
    ]
    assert tags.decode(np.array([[0.5, 0.2, 0.9]]))[0]["labels"] == ["a", "c"]
    assert age.decode(np.array([41.5])) == [{"task": "regression", "value": 41.5}]


def test_regression_works_in_units_of_the_training_labels() -> None:
    task = make_task(SPECS[3])
    assert isinstance(task, Regression)
    fitted = task.fitted(np.array([10.0, 30.0, np.nan]))
    assert (fitted.centre, fitted.scale) == (20.0, 10.0)
    assert task.scale == 1.0, "fitting returns another task"
    head = fitted.head(4)
    assert isinstance(head, RegressionHead)
    assert head(torch.randn(3, 4)).tolist() == [[20.0]] * 3
    loss = fitted.loss(torch.tensor([[40.0]]), torch.tensor([20.0]))
    assert loss.tolist() == [4.0]


def test_regression_on_equal_or_missing_labels_keeps_a_usable_scale() -> None:
    task = make_task(SPECS[3])
    assert isinstance(task, Regression)
    assert task.fitted(np.array([7.0, 7.0])).scale == 1.0
    assert task.fitted(np.array([np.nan])).centre == 0.0


def test_the_first_metric_decides() -> None:
    assert [make_task(spec).metrics[0].name for spec in SPECS] == [
        "accuracy",
        "accuracy",
        "mean average precision",
        "RMSE",
    ]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (TaskSpec("leaf", "multiclass", ("ash",)), "needs at least 2 classes, but has 1: ash"),
        (TaskSpec("leaf", "binary", ("a", "b", "c")), "needs exactly 2 classes, but has 3"),
        (TaskSpec("tags", "multilabel"), "needs at least 1 classes, but has 0: none"),
        (TaskSpec("x", "ranking"), "is 'ranking'; choose one of binary, multiclass"),  # type: ignore[arg-type]
    ],
)
def test_a_task_that_makes_no_sense_is_refused(spec: TaskSpec, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_task(spec)
