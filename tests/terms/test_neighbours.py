"""Neighbours vote as in scikit-learn, are left out exactly, and stand in a head that says the same."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes, load_digits
from sklearn.metrics import log_loss
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from torch import nn

from regraft.core.errors import UsageError
from regraft.core.task_spec import TaskSpec
from regraft.tasks import Task, build_head, head_spec, make_task
from regraft.tasks.neighbours import NeighbourHead
from regraft.terms.solvers import solve_neighbours

X, Y = (one[np.random.default_rng(0).permutation(1797)] for one in load_digits(return_X_y=True))
DIGIT = make_task(TaskSpec("digit", "multiclass", tuple("0123456789")))
TAGS = make_task(TaskSpec("tags", "multilabel", ("odd", "large", "never")))
TAGGED = np.stack([Y % 2, Y > 4, Y < 0], axis=1).astype(np.float32)
AGE = make_task(TaskSpec("age", "regression"))
CASES = {"multiclass": (DIGIT, Y), "multilabel": (TAGS, TAGGED), "regression": (AGE, Y.astype(np.float32))}


def head_of(features: np.ndarray, labels: np.ndarray, task: Task, k: int) -> NeighbourHead:
    made = solve_neighbours(features, labels, task, [k]).into(nn.Linear(1, 1), task)
    assert isinstance(made, NeighbourHead)
    return made


def test_many_faint_votes_are_those_of_scikit_learn() -> None:
    x, fresh = X[:150] / np.linalg.norm(X[:150], axis=1, keepdims=True), X[150:200]
    solved = solve_neighbours(X[:150], Y[:150], DIGIT, [7], temperature=1e6)
    votes = KNeighborsClassifier(7).fit(x, Y[:150])
    unit = fresh / np.linalg.norm(fresh, axis=1, keepdims=True)
    logits = solved.into(nn.Linear(1, 1), DIGIT)(torch.from_numpy(fresh))
    expected = np.log((votes.predict_proba(unit) * 7 + 0.1) / 8)
    np.testing.assert_allclose(logits.numpy(), expected, atol=1e-4)
    ages, values = load_diabetes(return_X_y=True)
    plain = KNeighborsRegressor(5).fit(ages / np.linalg.norm(ages, axis=1, keepdims=True), values)
    mean = solve_neighbours(ages, values.astype(np.float32), AGE, [5], temperature=1e6)
    asked = ages[:20] / np.linalg.norm(ages[:20], axis=1, keepdims=True)
    found = mean.into(nn.Linear(1, 1), AGE)(torch.from_numpy(ages[:20]))[:, 0]
    np.testing.assert_allclose(found.numpy(), plain.predict(asked), rtol=1e-4)


@pytest.mark.parametrize("kind", CASES)
def test_held_out_answers_are_those_of_a_head_without_the_example(kind: str) -> None:
    task, labels = CASES[kind]
    solution = solve_neighbours(X[:40], labels[:40], task, [4])
    for left_out in (0, 17, 39):
        others = np.arange(40) != left_out
        head = head_of(X[:40][others], labels[:40][others], task, 4)
        found = head(torch.from_numpy(X[[left_out]]))[0].numpy()
        np.testing.assert_allclose(solution.held_out[left_out], found, rtol=1e-4, atol=1e-4)


def test_the_best_number_is_taken_and_ties_go_to_more() -> None:
    solution = solve_neighbours(X[:120], Y[:120], DIGIT)
    line = solution.history
    assert line["grid"] == [119.0, 100.0, 50.0, 20.0, 10.0, 5.0, 3.0, 1.0]
    assert line["chosen"] == line["grid"][line["scores"].index(max(line["scores"]))] == solution.neighbours
    assert solution.score == (solution.held_out.argmax(1) == Y[:120]).mean() > 0.8
    again = solve_neighbours(X[:150], Y[:150], DIGIT, [line["chosen"]])
    assert (again.neighbours, len(again.examples)) == (solution.neighbours, 150)


@pytest.mark.parametrize("kind", ["multiclass", "multilabel"])
def test_probabilities_of_a_calibrated_head_mean_something(kind: str) -> None:
    task, labels = CASES[kind]
    solution = solve_neighbours(X[:300], labels[:300], task)
    raw = solution.into(nn.Linear(1, 1), task)
    sharp = solution.calibrated().into(nn.Linear(1, 1), task)
    fresh, truth = torch.from_numpy(X[300:900]), torch.from_numpy(labels[300:900])
    losses = [float(task.loss(head(fresh), truth).mean()) for head in (raw, sharp)]
    assert losses[1] < losses[0]
    if kind == "multiclass":
        scores = task.scores(sharp(fresh).numpy())
        assert log_loss(Y[300:900], scores) < 0.5
        assert scores.max(1).mean() == pytest.approx((scores.argmax(1) == Y[300:900]).mean(), abs=0.06)


def test_a_head_is_rebuilt_from_what_it_says_of_itself() -> None:
    head = head_of(X[:30], Y[:30], DIGIT, 3)
    facts = head_spec(head)
    assert facts is not None
    again = build_head(facts, DIGIT.spec)
    again.load_state_dict(head.state_dict())
    fresh = torch.from_numpy(X[30:60])
    assert torch.equal(again(fresh), head(fresh))
    DIGIT.sharpen_head(again, 2.0)
    assert torch.equal(again(fresh), 2 * head(fresh))
    assert head_spec(nn.Linear(2, 2)) is None
    with pytest.raises(ValueError, match="of the kind 'forest'"):
        build_head({"kind": "forest"}, DIGIT.spec)


@pytest.mark.parametrize("grid", [[], [0], [1.5]])
def test_numbers_of_neighbours_are_whole(grid: list[float]) -> None:
    with pytest.raises(UsageError, match=r"whole numbers of neighbours, as in \[1, 5\]"):
        solve_neighbours(X[:20], Y[:20], DIGIT, grid)


@pytest.mark.parametrize("kind", CASES)
def test_a_head_gives_the_same_in_onnx(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    task, labels = CASES[kind]
    head = solve_neighbours(X[:60], labels[:60], task, [5]).calibrated().into(nn.Linear(1, 1), task).eval()
    fresh = torch.from_numpy(X[60:80]).float()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter warns about its own deprecated parts
        shapes = ({0: torch.export.Dim("batch", min=1, max=64)},)
        program = torch.onnx.export(head, (fresh[:7],), dynamo=True, dynamic_shapes=shapes, verbose=False)
    assert program is not None
    program.save(tmp_path / "head.onnx")
    session = runtime.InferenceSession(str(tmp_path / "head.onnx"), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: fresh.numpy()})
    np.testing.assert_allclose(found, head(fresh).numpy(), rtol=1e-4, atol=1e-5)
