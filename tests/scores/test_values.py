"""Every score beside the slow one of tests/scores/slow.py: equal to 1e-8 on every shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from regraft.scores import SCORES, Examples
from regraft.scores.cka import cka
from regraft.scores.gbc import gbc
from regraft.scores.knn import knn
from regraft.scores.ridge import ridge
from tests.scores import slow
from tests.scores.problems import SHAPES, one_hot, probabilities, problem

CLOSE: dict[str, float] = {"rtol": 1e-8, "atol": 1e-8}
FAST_AND_SLOW: dict[str, tuple[Callable[[Examples], float], Callable[..., float]]] = {
    "h": (SCORES["h"].of, lambda x, y: slow.h(x, y)),
    "regularised-h": (SCORES["regularised-h"].of, lambda x, y: slow.regularised_h(x, y)),
    "logme": (SCORES["logme"].of, lambda x, y: slow.logme(x, one_hot(y))),
    "transrate": (SCORES["transrate"].of, lambda x, y: slow.transrate(x, y)),
    "gbc": (SCORES["gbc"].of, lambda x, y: slow.gbc(x, y, spherical=True)),
    "gbc, diagonal": (
        lambda examples: gbc(examples, gaussian="diagonal"),
        lambda x, y: slow.gbc(x, y, spherical=False),
    ),
    "parc": (SCORES["parc"].of, lambda x, y: slow.parc(x, one_hot(y))),
    "cka": (SCORES["cka"].of, lambda x, y: slow.cka(x, one_hot(y), kernel="rbf")),
    "cka, debiased": (
        lambda examples: cka(examples, debiased=True),
        lambda x, y: slow.cka(x, one_hot(y), kernel="rbf", debiased=True),
    ),
    "cka, linear": (
        lambda examples: cka(examples, kernel="linear", debiased=True),
        lambda x, y: slow.cka(x, one_hot(y), kernel="linear", debiased=True),
    ),
    "centroid-cka": (
        SCORES["centroid-cka"].of,
        lambda x, y: slow.cka(x, one_hot(y), kernel="linear"),
    ),
    "knn": (SCORES["knn"].of, lambda x, y: slow.knn(x, y, 5, cosine=True, kind="multiclass")),
    "knn, euclidean": (
        lambda examples: knn(examples, neighbours=3, metric="euclidean"),
        lambda x, y: slow.knn(x, y, 3, cosine=False, kind="multiclass"),
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", FAST_AND_SLOW)
def test_the_value_is_that_of_the_formula(name: str, shape: tuple[int, int, int]) -> None:
    features, labels = problem(*shape, signal=0.4)
    fast, slowly = FAST_AND_SLOW[name]
    np.testing.assert_allclose(fast(Examples.of(features, labels)), slowly(features, labels), **CLOSE)


@pytest.mark.parametrize("name", ["leep", "nce"])
@pytest.mark.parametrize("classes", [2, 6])
def test_scores_of_the_source_head(name: str, classes: int) -> None:
    features, labels = problem(30, 4, 3)
    theta = probabilities(30, classes)
    theta[:, 0] = 0.0  # a source class without mass
    theta /= theta.sum(1, keepdims=True)
    value = SCORES[name].of(Examples.of(features, labels, source_probabilities=theta))
    np.testing.assert_allclose(value, getattr(slow, name)(theta, labels), **CLOSE)


@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[3]])
@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_sfda(shape: tuple[int, int, int], scale: float) -> None:
    """Shrinkage by the scatter's eigenvalue, and at its floor."""
    features, labels = problem(*shape, signal=0.4)
    value = SCORES["sfda"].of(Examples.of(features * scale, labels))
    np.testing.assert_allclose(value, slow.sfda(features * scale, labels), **CLOSE)


def test_sfda_of_wide_features() -> None:
    """Away from its floor the shrinkage makes the scatter regular, whatever the width."""
    features, labels = problem(*SHAPES[1], signal=0.4)
    value = SCORES["sfda"].of(Examples.of(features * 0.3, labels))
    np.testing.assert_allclose(value, slow.sfda(features * 0.3, labels), **CLOSE)


@pytest.mark.parametrize("shape", SHAPES)
def test_ridge(shape: tuple[int, int, int]) -> None:
    features, labels = problem(*shape, signal=0.4)
    penalties = [0.01, 1.0, 30.0]
    found = ridge(Examples.of(features, labels), penalties=penalties)
    assert found.penalties.tolist() == [30.0, 1.0, 0.01]
    for number, penalty in enumerate(found.penalties):
        outputs = slow.ridge(features, one_hot(labels), penalty)
        hits = outputs.argmax(1) == labels
        np.testing.assert_allclose(found.quality[number], hits.mean(), **CLOSE)
        np.testing.assert_array_equal(found.right[number], hits)
        if number == found.best:
            np.testing.assert_allclose(found.held_out, outputs, **CLOSE)


@pytest.mark.parametrize("name", ["logme", "ridge", "knn"])
@pytest.mark.parametrize("shape", SHAPES)
def test_regression(name: str, shape: tuple[int, int, int]) -> None:
    features, _ = problem(*shape)
    random = np.random.default_rng(1)
    targets = features[:, :2] @ random.normal(size=(2, 2)) + random.normal(size=(len(features), 2)) + 3
    examples = Examples.of(features, targets, kind="regression")
    expected: Any
    if name == "logme":
        expected = slow.logme(features, targets)
    elif name == "knn":
        expected = slow.knn(features, targets, 5, cosine=True, kind="regression")
    else:
        found = ridge(examples)
        outputs = slow.ridge(features, targets, found.penalties[found.best])
        expected = 1 - np.square(outputs - targets).mean() / targets.var(0).mean()
        np.testing.assert_allclose(found.held_out, outputs, **CLOSE)
        assert np.isnan(found.log_loss).all()
        assert np.isnan(found.least_log_loss)
    np.testing.assert_allclose(SCORES[name].of(examples), expected, **CLOSE)


@pytest.mark.parametrize("name", [one for one, score in SCORES.items() if score.compute and one != "n-leep"])
def test_several_labels_are_their_mean(name: str) -> None:
    features, labels = problem(40, 6, 3)
    several = np.stack([labels == 0, labels != 1, np.ones_like(labels)], axis=1).astype(np.float32)
    theta = probabilities(40, 5)
    examples = Examples.of(features, several, kind="multilabel", source_probabilities=theta)
    assert examples.outputs == 2  # the label that never varies plays no part
    value = SCORES[name].of(examples)
    single = [
        SCORES[name].of(Examples.of(features, column.astype(int), kind="binary", source_probabilities=theta))
        for column in several.T[:2]
    ]
    match name:
        case "logme":
            single = [slow.evidence(features, column.astype(float)) for column in several.T[:2]]
        case "knn":
            single = [slow.knn(features, several[:, :2], 5, cosine=True, kind="multilabel")]
        case "ridge":
            outputs = [
                slow.ridge(features, several[:, :2].astype(float), one) for one in ridge(examples).penalties
            ]
            single = [max(float(((one >= 0.5) == (several[:, :2] >= 0.5)).mean()) for one in outputs)]
        case "ridge-log-loss":
            assert value < 0
            return  # one penalty for all labels: tests/scores/test_ridge.py
    np.testing.assert_allclose(value, np.mean(single), **CLOSE)


def test_a_wrong_value_would_be_seen() -> None:
    """The comparison above fails for what is known to be wrong: the authors' evidence of wide features."""
    features, labels = problem(30, 70, 2)
    columns = one_hot(labels)
    right = slow.logme(features, columns)
    np.testing.assert_allclose(SCORES["logme"].of(Examples.of(features, labels)), right, **CLOSE)
    assert abs(authors_logme(features, columns) - right) > 0.1


def authors_logme(features: np.ndarray, columns: np.ndarray) -> float:
    """With D/2 ln alpha where the rank is N < D: what of the determinant belongs to no direction stays in."""
    count, width = features.shape
    extra = []
    for column in columns.T:
        alpha = beta = 1.0
        for _ in range(11):
            t = alpha / beta
            system = features @ features.T + t * np.eye(count)
            dual = np.linalg.solve(system, column)
            gamma = count - t * np.trace(np.linalg.inv(system))
            length, residual = np.square(features.T @ dual).sum(), t**2 * dual @ dual
            alpha, beta = gamma / (length + 1e-5), (count - gamma) / (residual + 1e-5)
            if abs(alpha / beta - t) / t <= 1e-3:
                break
        extra.append((width - count) / 2 * np.log(alpha) / count)
    return slow.logme(features, columns) + float(np.mean(extra))
