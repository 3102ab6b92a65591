"""Examples as they come: what is left out, what is refused, and scores of what is hardly anything."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from regraft.core.errors import DataError, UsageError
from regraft.scores import SCORES, Examples, Features
from regraft.scores.gbc import gbc
from regraft.scores.knn import knn
from regraft.scores.ncti import collapse, ncti
from regraft.scores.nleep import n_leep
from regraft.scores.transrate import transrate
from tests.scores import slow
from tests.scores.problems import one_hot, probabilities, problem

FEATURES = np.random.default_rng(0).normal(size=(6, 3))
CLASSES = np.array([0, 0, 0, 1, 1, 1])


def test_missing_labels_and_empty_classes_play_no_part() -> None:
    labels = np.array([5, -1, 5, 2, 2, -1])
    examples = Examples.of(FEATURES, labels, source_probabilities=np.full((6, 2), 0.5))
    assert (examples.count, examples.outputs) == (4, 2)
    np.testing.assert_array_equal(examples.codes, [1, 1, 0, 0])
    np.testing.assert_array_equal(examples.features.values, FEATURES[[0, 2, 3, 4]])
    assert examples.probabilities().shape == (4, 2)
    values = Examples.of(FEATURES, np.array([1, np.nan, 3, 4, 5, 6]), kind="regression")
    assert values.targets[:, 0].tolist() == [1, 3, 4, 5, 6]


def test_features_are_shared_between_labels_and_decomposed_once() -> None:
    features = Features.of(FEATURES)
    several = np.array([[0, 1], [1, 1], [0, 0], [1, 0], [0, 1], [1, 1]])
    examples = Examples.of(features, several, kind="multilabel")
    assert examples.features is features
    parts = features.decomposition
    assert all(one.features.decomposition is parts for one in examples.label_by_label())
    assert [one.kind for one in examples.label_by_label()] == ["binary", "binary"]
    again = pickle.loads(pickle.dumps(examples))  # noqa: S301 - a value in memory, as a worker is handed it
    assert SCORES["h"].of(again) == SCORES["h"].of(examples)


@pytest.mark.parametrize(
    ("features", "labels", "kind", "sentence"),
    [
        (FEATURES, np.zeros(6, int), "multiclass", "6 labelled examples hold 1; label some of another one"),
        (FEATURES, np.full(6, -1), "binary", "0 labelled examples hold 0"),
        (FEATURES, np.ones((6, 2)), "multilabel", "the labels of all 6 examples are the same"),
        (FEATURES, np.ones(6), "regression", "the labels of all 6 examples are the same"),
        (FEATURES, np.array([1, np.inf, 0, 0, 0, 0]), "regression", "found infinite ones"),
        (FEATURES, np.array([[2.0], [0], [0], [0], [0], [0]]), "multilabel", "are 0 or 1, NaN where missing"),
        (FEATURES, np.array([1, *[np.nan] * 5]), "regression", "at least 2 labelled examples, found 1"),
        (np.full((6, 3), np.nan), CLASSES, "binary", "6 of 6 examples are not finite, the first in row 0"),
        (np.zeros((6, 0)), CLASSES, "binary", r"of shape \(examples, width\), found \(6, 0\)"),
    ],
)
def test_what_cannot_be_scored_is_said(
    features: np.ndarray, labels: np.ndarray, kind: str, sentence: str
) -> None:
    with pytest.raises(DataError, match=sentence):
        Examples.of(features, labels, kind=kind)  # type: ignore[arg-type]


def test_wrong_calls_are_said() -> None:
    with pytest.raises(UsageError, match="6 examples need one label each, found labels of shape"):
        Examples.of(FEATURES, CLASSES[:5])
    with pytest.raises(UsageError, match=r"classes are whole numbers \(N,\), -1 where missing"):
        Examples.of(FEATURES, CLASSES + 0.5)
    with pytest.raises(UsageError, match=r"scores know the kinds binary, .*; found 'sequence'"):
        Examples.of(FEATURES, CLASSES, kind="sequence")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="a row of source probabilities each"):
        Examples.of(FEATURES, CLASSES, source_probabilities=np.ones((5, 2)))
    for wrong in (np.full((6, 2), 0.4), np.tile([1.5, -0.5], (6, 1)), np.full((6, 2), np.nan)):
        with pytest.raises(DataError, match=r"sum to 1 in every row .*; row 0 does not"):
            Examples.of(FEATURES, CLASSES, source_probabilities=wrong)


def constant(count: int = 12, classes: int = 3) -> Examples:
    labels = np.arange(count) % classes
    return Examples.of(np.full((count, 4), 0.1), labels, source_probabilities=np.full((count, 2), 0.5))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("leep", -np.log(3)),
        ("nce", -np.log(3)),
        ("n-leep", -np.log(3)),
        ("h", 0),
        ("regularised-h", 0),
        ("transrate", 0),
        ("gbc", -6),
        ("sfda", 1 / 3),
        ("parc", 0),
        ("cka", 0),
        ("centroid-cka", 0),
        ("ridge-log-loss", None),
        ("ridge", 0),  # the largest class of the others is never an example's own
        ("knn", None),
    ],
)
def test_constant_features(name: str, value: float | None) -> None:
    found = SCORES[name].of(constant())
    assert np.isfinite(found)
    if value is not None:
        np.testing.assert_allclose(found, value, atol=1e-9)


@pytest.mark.parametrize("fill", [0.0, 0.1])
def test_logme_of_constant_features(fill: float) -> None:
    features, labels = np.full((12, 4), fill), np.arange(12) % 3
    found = SCORES["logme"].of(Examples.of(features, labels))
    if fill:
        expected = slow.logme(features, one_hot(labels))
    else:
        beta = 12 / (4 + 1e-5)
        expected = (np.log(beta) - beta * 4 / 12 - np.log(2 * np.pi)) / 2
    np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_a_class_of_one_example() -> None:
    features, labels = problem(20, 4, 2)
    labels = np.where(np.arange(20) == 7, 2, labels)
    examples = Examples.of(features, labels, source_probabilities=probabilities(20, 3))
    for name, score in SCORES.items():
        if score.compute:
            assert np.isfinite(score.of(examples)), name
    np.testing.assert_allclose(gbc(examples), slow.gbc(features, labels, spherical=True), rtol=1e-8)


def test_classes_that_do_not_vary() -> None:
    """Every example stands on its class's mean: nothing is left within classes."""
    examples = Examples.of(np.repeat(np.eye(3), 4, axis=0), np.repeat(np.arange(3), 4))
    np.testing.assert_allclose(SCORES["sfda"].of(examples), 1.0, atol=1e-6)
    np.testing.assert_allclose(SCORES["h"].of(examples), 2.0)
    np.testing.assert_allclose(SCORES["centroid-cka"].of(examples), 1.0)
    assert SCORES["knn"].of(examples) == 1.0
    assert np.isfinite(SCORES["ridge-log-loss"].of(examples))


def test_the_h_score_saturates_where_the_regularised_one_does_not() -> None:
    features, labels = problem(20, 60, 4, signal=0.0)
    examples = Examples.of(features, labels)
    np.testing.assert_allclose(SCORES["h"].of(examples), 3.0, rtol=1e-9)
    assert SCORES["regularised-h"].of(examples) < 2


def test_a_term_of_ncti_that_all_share_counts_nothing_and_candidates_change_it() -> None:
    features, labels = problem(60, 6, 3)
    pool = [Examples.of(features * scale + shift, labels) for scale, shift in ((1.0, 0), (2.0, 0))]
    assert ncti(pool[:1]) == [0.0]
    random = np.random.default_rng(0)
    noise = Examples.of(random.normal(size=(60, 6)), labels)
    alone, beside = ncti([noise, pool[0]]), ncti([noise, pool[0], Examples.of(features * 0.5, labels)])
    assert alone[1] > alone[0]
    assert max(alone) <= 2
    assert min(alone) >= -1
    assert alone[1] != beside[1]
    with pytest.raises(DataError, match="compared on the same examples"):
        ncti([noise, Examples.of(features, labels[::-1])])
    with pytest.raises(UsageError, match="there is none in it"):
        ncti([])


@pytest.mark.parametrize("scale", [0.3, 20.0])
def test_the_terms_of_ncti(scale: float) -> None:
    """Discriminants by their densities; their space by whitening; nuclear norms by singular values."""
    features, labels = problem(50, 5, 3, signal=0.5)
    features = (features - features.mean(0)) * scale
    found = collapse(Examples.of(features, labels))
    shrinkage = np.exp(-np.var(features, axis=0, ddof=1).sum())
    classes = [features[labels == label] for label in range(3)]
    spreads = [np.cov(one.T, bias=True) for one in classes]
    if shrinkage <= 1e-10:
        shrinkage = 0.0
    width = np.eye(5)
    within = sum(
        len(one) / 50 * ((1 - shrinkage) * spread + shrinkage * np.trace(spread) / 5 * width)
        for one, spread in zip(classes, spreads, strict=True)
    )
    inverse = np.linalg.inv(within)
    logs = np.stack(
        [
            np.log(len(one) / 50) - np.einsum("id,de,ie->i", gap, inverse, gap) / 2
            for one in classes
            for gap in [features - one.mean(0)]
        ],
        axis=1,
    )
    said = np.exp(logs) / np.exp(logs).sum(1, keepdims=True)
    np.testing.assert_allclose(found.separation, said[np.arange(50), labels].mean(), rtol=1e-6)
    norms = [np.linalg.svd(said[labels == label], compute_uv=False).sum() for label in range(3)]
    np.testing.assert_allclose(found.variation, np.log(sum(norms)), rtol=1e-6)
    assert found.spread > 0


def test_n_leep_is_leep_with_the_responsibilities_of_a_mixture() -> None:
    from sklearn.decomposition import PCA
    from sklearn.mixture import GaussianMixture

    from regraft.core.randomness import random_key

    features, labels = problem(60, 6, 3, signal=2.0)
    value = n_leep(Examples.of(features, labels), per_class=2, seed=3)
    space = PCA(n_components=0.8, svd_solver="full").fit_transform(features)
    state = random_key(3, "scores: n-leep") % (1 << 32)
    theta = GaussianMixture(6, random_state=state).fit(space).predict_proba(space)
    np.testing.assert_allclose(value, slow.leep(theta, labels), rtol=1e-6)
    with pytest.raises(UsageError, match="n-leep has at least 1 component a class"):
        n_leep(Examples.of(features, labels), energy=0.0)


def test_reduction_is_said_and_keeps_distances(capsys: pytest.CaptureFixture[str]) -> None:
    values = np.random.default_rng(0).normal(size=(12, 900))
    reduced = Features.of(values).reduced(700)
    assert (
        capsys.readouterr().err
        == "scores: 900 features reduced to 700 random directions; values are estimates\n"
    )
    assert (reduced.width, reduced.reduced_from) == (700, 900)
    far = [
        np.linalg.norm(one[:, None] - one, axis=2)[np.triu_indices(12, 1)] for one in (values, reduced.values)
    ]
    np.testing.assert_allclose(far[1], far[0], rtol=0.1)
    np.testing.assert_array_equal(Features.of(values).reduced(700).values, reduced.values)
    assert Features.of(FEATURES).reduced() is not None
    assert Features.of(FEATURES).reduced().reduced_from is None
    with pytest.raises(UsageError, match="a width of at least 1"):
        reduced.reduced(0)


def test_principal_components_on_request() -> None:
    features, labels = problem(40, 10, 3)
    examples = Examples.of(features, labels)
    centred = features - features.mean(0)
    axes = np.linalg.svd(centred)[2][:3].T
    expected = slow.gbc(centred @ axes, labels, spherical=True)
    np.testing.assert_allclose(gbc(examples, width=3), expected, rtol=1e-8)
    with pytest.raises(DataError, match="constant features have no principal components"):
        gbc(constant(), width=2)


def test_options_are_checked() -> None:
    examples = Examples.of(*problem(20, 3, 2))
    with pytest.raises(UsageError, match="whole and at least 1, as in 5; found 0"):
        knn(examples, neighbours=0)
    with pytest.raises(UsageError, match="'cosine' or 'euclidean'; found 'near'"):
        knn(examples, metric="near")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="'spherical' or 'diagonal' for gbc"):
        gbc(examples, gaussian="full")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="the distortion of transrate is positive"):
        transrate(examples, distortion=0)
    assert knn(examples, neighbours=500) == knn(examples, neighbours=19)
