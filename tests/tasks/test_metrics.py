import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sklearn import metrics as sk

from regraft.tasks import metrics as m
from regraft.tasks.task import Metric

CLASS_METRICS = (m.ACCURACY, m.BALANCED_ACCURACY, m.MACRO_F1, m.ROC_AUC)
LABEL_METRICS = (m.MEAN_AVERAGE_PRECISION, m.MACRO_F1, m.ROC_AUC, m.EXACT_MATCH)
NUMBER_METRICS = (m.RMSE, m.R_SQUARED, m.MAE)


def classes(seed: int, count: int = 60, kinds: int = 3) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    # Rounded, so that scores tie.
    return random.dirichlet(np.ones(kinds), count).round(1), random.integers(0, kinds, count)


def test_class_metrics_equal_scikit_learn() -> None:
    scores, labels = classes(0)
    said = scores.argmax(1)
    assert m.ACCURACY.compute(scores, labels) == pytest.approx(sk.accuracy_score(labels, said))
    assert m.BALANCED_ACCURACY.compute(scores, labels) == pytest.approx(
        sk.balanced_accuracy_score(labels, said)
    )
    assert m.MACRO_F1.compute(scores, labels) == pytest.approx(sk.f1_score(labels, said, average="macro"))
    exact = np.random.default_rng(1).dirichlet(np.ones(3), 60)
    assert m.ROC_AUC.compute(exact, labels) == pytest.approx(
        sk.roc_auc_score(labels, exact, multi_class="ovr", average="macro")
    )


def test_binary_area_is_of_the_second_class() -> None:
    scores, labels = classes(2, kinds=2)
    assert m.ROC_AUC.compute(scores, labels) == pytest.approx(sk.roc_auc_score(labels, scores[:, 1]))


def test_label_metrics_equal_scikit_learn() -> None:
    random = np.random.default_rng(3)
    scores, labels = random.random((50, 4)), (random.random((50, 4)) < 0.4).astype(np.float32)
    said = scores >= 0.5
    assert m.MEAN_AVERAGE_PRECISION.compute(scores, labels) == pytest.approx(
        sk.average_precision_score(labels, scores, average="macro")
    )
    assert m.MACRO_F1.compute(scores, labels) == pytest.approx(sk.f1_score(labels, said, average="macro"))
    assert m.ROC_AUC.compute(scores, labels) == pytest.approx(
        sk.roc_auc_score(labels, scores, average="macro")
    )
    assert m.EXACT_MATCH.compute(scores, labels) == pytest.approx(sk.accuracy_score(labels, said))


def test_number_metrics_equal_scikit_learn() -> None:
    random = np.random.default_rng(4)
    values, labels = random.normal(size=40), random.normal(size=40).astype(np.float32)
    assert m.RMSE.compute(values, labels) == pytest.approx(sk.root_mean_squared_error(labels, values))
    assert m.R_SQUARED.compute(values, labels) == pytest.approx(sk.r2_score(labels, values))
    assert m.MAE.compute(values, labels) == pytest.approx(sk.mean_absolute_error(labels, values))


@given(st.integers(0, 10_000), st.integers(2, 30))
@settings(max_examples=40, deadline=None)
def test_vectorised_resamples_equal_one_resample_after_the_other(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    counts = random.multinomial(count, np.full(count, 1 / count), size=5)
    for kinds in (2, 3):
        same_as_loop(CLASS_METRICS, *classes(seed, count, kinds), counts)
    labels = (random.random((count, 3)) < 0.3).astype(np.float32)
    same_as_loop(LABEL_METRICS, random.random((count, 3)).round(1), labels, counts)
    same_as_loop(
        NUMBER_METRICS, random.normal(size=count), random.integers(0, 3, count).astype(float), counts
    )


def same_as_loop(
    chosen: tuple[Metric, ...], scores: np.ndarray, labels: np.ndarray, counts: np.ndarray
) -> None:
    for metric in chosen:
        fast = metric.resampled(scores, labels, counts)
        np.testing.assert_allclose(fast, Metric.resampled(metric, scores, labels, counts), atol=1e-9)


@pytest.mark.parametrize("metric", [m.ROC_AUC], ids=lambda metric: metric.name)
def test_a_class_missing_from_the_sample_makes_the_area_undefined(metric: Metric) -> None:
    scores, labels = classes(5)
    assert np.isnan(metric.compute(scores, np.where(labels == 2, 1, labels)))


def test_nothing_is_undefined() -> None:
    for metric in CLASS_METRICS:
        assert np.isnan(metric.compute(np.empty((0, 3)), np.empty(0, dtype=np.int64)))
    for metric in LABEL_METRICS:
        assert np.isnan(metric.compute(np.empty((0, 3)), np.empty((0, 3))))
    for metric in NUMBER_METRICS:
        assert np.isnan(metric.compute(np.empty(0), np.empty(0)))
    assert np.isnan(m.R_SQUARED.compute(np.array([1.0, 2.0]), np.array([3.0, 3.0])))
    assert np.isnan(m.MEAN_AVERAGE_PRECISION.compute(np.ones((2, 2)), np.zeros((2, 2))))


def test_an_interval_of_a_share_ends_where_shares_end() -> None:
    assert m.ACCURACY.possible(-0.1, 1.02) == (0.0, 1.0)
    assert m.ACCURACY.possible(0.2, 0.9) == (0.2, 0.9)
    assert m.RMSE.possible(-0.1, 1.02) == (-0.1, 1.02)
