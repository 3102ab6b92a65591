"""The nearest class mean is scikit-learn's, as a linear head; what is left out is left out exactly."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from sklearn.neighbors import NearestCentroid

from regraft.core.errors import UsageError
from regraft.core.task_spec import TaskSpec
from regraft.tasks import make_task
from regraft.terms.solvers import Solution, solve_centroid

X, Y = (one[np.random.default_rng(0).permutation(1797)] for one in load_digits(return_X_y=True))
DIGIT = make_task(TaskSpec("digit", "multiclass", tuple("0123456789")))
TAGS = make_task(TaskSpec("tags", "multilabel", ("odd", "large")))
TAGGED = np.stack([Y % 2, Y > 4], axis=1).astype(np.float32)


def outputs(solution: Solution, x: np.ndarray) -> np.ndarray:
    return x @ solution.weight.T + solution.bias


@pytest.mark.filterwarnings("ignore:self.within_class_std_dev_ has")  # pixels that are always white
def test_it_answers_as_scikit_learn_does() -> None:
    solution = solve_centroid(X[:200], Y[:200], DIGIT)
    plain = NearestCentroid().fit(X[:200], Y[:200])
    assert (outputs(solution, X[200:]).argmax(1) == plain.predict(X[200:])).all()
    gaps = -((X[200:210, None] - plain.centroids_) ** 2).sum(2)
    found = outputs(solution, X[200:210])
    np.testing.assert_allclose(found - found[:, :1], gaps - gaps[:, :1], atol=1e-6)


def test_what_is_held_out_took_no_part() -> None:
    for task, labels in ((DIGIT, Y), (TAGS, TAGGED)):
        solution = solve_centroid(X[:60], labels[:60], task)
        for left_out in (0, 17, 59):
            others = np.arange(60) != left_out
            refit = solve_centroid(X[:60][others], labels[:60][others], task)
            expected, found = outputs(refit, X[[left_out]])[0], solution.held_out[left_out]
            shift = expected[0] - found[0] if task is DIGIT else 0.0  # softmax does not mind one
            np.testing.assert_allclose(found + shift, expected, atol=1e-6)


def test_a_single_label_of_two_classes_is_the_same_either_way() -> None:
    odd = make_task(TaskSpec("odd", "binary", ("even", "odd")))
    tag = make_task(TaskSpec("odd", "multilabel", ("odd",)))
    two, one = solve_centroid(X[:99], Y[:99] % 2, odd), solve_centroid(X[:99], TAGGED[:99, :1], tag)
    logits = outputs(two, X[99:])
    np.testing.assert_allclose(outputs(one, X[99:])[:, 0], logits[:, 1] - logits[:, 0], atol=1e-6)
    assert two.sharpness == pytest.approx(one.sharpness, rel=0.02)


def test_probabilities_mean_something_and_a_class_without_an_example_has_none() -> None:
    rows = np.flatnonzero(Y[:400] != 3)
    solution = solve_centroid(X[rows], Y[rows], DIGIT).calibrated()
    scores = DIGIT.scores(outputs(solution, X[400:]))
    assert scores[:, 3].max() < 1e-3
    others = Y[400:] != 3
    assert log_loss(Y[400:][others], scores[others], labels=range(10)) < 1.0
    tags = solve_centroid(X[:100], np.eye(2, dtype=np.float32)[np.zeros(100, int)], TAGS).calibrated()
    assert (TAGS.scores(outputs(tags, X)).round() == [1.0, 0.0]).all()


def test_the_only_example_of_a_class_is_never_held_out() -> None:
    labels = np.r_[np.zeros(9, int), 1]
    solution = solve_centroid(X[:10], labels, DIGIT)
    assert np.isnan(solution.held_out[9]).any()
    assert np.isfinite(solution.held_out[:9]).all()
    assert np.isfinite([solution.score, solution.sharpness]).all()


def test_a_number_has_no_class_means() -> None:
    with pytest.raises(UsageError, match="has no class means; solve it with ridge or knn"):
        solve_centroid(X, Y.astype(np.float32), make_task(TaskSpec("age", "regression")))
