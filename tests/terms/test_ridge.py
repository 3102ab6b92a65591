import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_digits
from sklearn.linear_model import Ridge
from sklearn.metrics import average_precision_score, log_loss

from regraft.core.errors import UsageError
from regraft.core.task_spec import TaskSpec
from regraft.tasks import Task, make_task
from regraft.terms.solvers import DEFAULT_GRID, solve_ridge


def digits_task() -> Task:
    return make_task(TaskSpec("digit", "multiclass", tuple("0123456789")))


def some_digits(count: int = 200) -> tuple[np.ndarray, np.ndarray]:
    features, labels = load_digits(return_X_y=True)
    return features[:count], labels[:count]


def test_the_chosen_penalty_has_the_best_leave_one_out_accuracy() -> None:
    features, labels = some_digits()
    solution = solve_ridge(features, labels, digits_task())
    line = solution.history
    assert line["grid"] == sorted(DEFAULT_GRID, reverse=True)
    best = max(line["scores"])
    assert line["chosen"] == line["grid"][line["scores"].index(best)], "ties go to the stronger penalty"
    assert solution.score == best == (solution.held_out.argmax(1) == labels).mean()
    assert (line["kind"], line["solver"], line["metric"]) == ("solve", "ridge", "accuracy")


def test_held_out_predictions_equal_explicit_refits_of_scikit_learn() -> None:
    features, labels = some_digits(60)
    solution = solve_ridge(features, labels, digits_task(), [0.1])
    values = np.linalg.svd(features - features.mean(0), compute_uv=False) ** 2
    penalty = 0.1 * values[values > 1e-9 * values.max()].mean()
    onehot = np.eye(10)[labels]
    for left_out in (0, 17, 59):
        others = np.arange(60) != left_out
        refit = Ridge(alpha=penalty).fit(features[others], onehot[others])
        np.testing.assert_allclose(
            solution.held_out[left_out], refit.predict(features[[left_out]])[0], atol=1e-9
        )
    whole = Ridge(alpha=penalty).fit(features, onehot)
    np.testing.assert_allclose(solution.weight, whole.coef_, atol=1e-9)
    np.testing.assert_allclose(solution.bias, whole.intercept_, atol=1e-9)


def test_calibration_keeps_the_order_and_makes_probabilities_mean_something() -> None:
    features, labels = load_digits(return_X_y=True)
    train, test = np.split(np.random.default_rng(0).permutation(1797), [300])
    task = digits_task()
    raw = solve_ridge(features[train], labels[train], task)
    logits = raw.calibrated()
    plain, sharp = (features[test] @ each.weight.T + each.bias for each in (raw, logits))
    assert (plain.argmax(1) == sharp.argmax(1)).all()
    assert log_loss(labels[test], task.scores(sharp)) < 0.5 * log_loss(labels[test], task.scores(plain))
    confidence = task.scores(sharp).max(1).mean()
    assert confidence == pytest.approx((sharp.argmax(1) == labels[test]).mean(), abs=0.06)
    np.testing.assert_allclose(logits.held_out, raw.held_out * raw.sharpness)
    assert logits.calibrated().weight.tobytes() == logits.weight.tobytes(), (
        "calibrating twice changes nothing"
    )


def test_several_labels_are_chosen_by_mean_average_precision() -> None:
    features, labels = some_digits()
    task = make_task(TaskSpec("tags", "multilabel", ("even", "large")))
    rows = np.stack([labels % 2 == 0, labels > 4], axis=1).astype(np.float32)
    solution = solve_ridge(features, rows, task)
    assert solution.history["metric"] == "mean average precision"
    assert solution.score == pytest.approx(average_precision_score(rows, solution.held_out, average="macro"))
    raw, sharp = solution.held_out, solution.calibrated().held_out
    assert ((raw > 0.5) == (sharp > 0)).all(), "a fit of one half is a probability of one half"


def test_a_regression_is_chosen_by_squared_error_and_answers_in_its_own_unit() -> None:
    features, labels = load_diabetes(return_X_y=True)
    solution = solve_ridge(features, labels.astype(np.float32), make_task(TaskSpec("progress", "regression")))
    assert solution.history["metric"] == "RMSE"
    assert solution.score == min(solution.history["scores"])
    assert solution.score == pytest.approx(np.sqrt(((solution.held_out[:, 0] - labels) ** 2).mean()))
    assert 50 < solution.score < 58
    assert solution.calibrated().weight.tobytes() == solution.weight.tobytes()


def test_rows_without_a_label_are_left_out() -> None:
    features, labels = some_digits()
    spoilt = np.where(np.arange(200) < 150, labels, -1)
    solution = solve_ridge(features, spoilt, digits_task())
    alone = solve_ridge(features[:150], labels[:150], digits_task())
    assert solution.weight.tobytes() == alone.weight.tobytes()
    assert np.isnan(solution.held_out[150:]).all()


@pytest.mark.parametrize("width", [1, 5, 400])
@pytest.mark.parametrize("count", [2, 3, 30])
def test_few_examples_and_many_features(count: int, width: int) -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(count, width))
    labels = np.arange(count) % 2
    solution = solve_ridge(features, labels, make_task(TaskSpec("y", "binary", ("no", "yes"))))
    assert np.isfinite(solution.weight).all()
    assert np.isfinite(solution.held_out).all()
    assert 1e-3 <= solution.sharpness <= 1e3


def test_features_that_do_not_vary_answer_the_class_shares() -> None:
    labels = np.array([0, 0, 0, 1])
    solution = solve_ridge(np.full((4, 3), 0.1), labels, make_task(TaskSpec("y", "binary", ("no", "yes"))))
    assert not solution.weight.any()
    np.testing.assert_allclose(solution.bias, [0.75, 0.25])


def test_a_class_with_one_example_and_one_without() -> None:
    features, labels = some_digits(50)
    labels = np.where(labels == 9, 0, labels)
    labels[:] = np.where(labels == 8, 0, labels)
    labels[0] = 8
    solution = solve_ridge(features, labels, digits_task())
    assert np.isfinite(solution.weight).all()
    assert not solution.weight[9].any()


def test_a_penalty_that_is_none_is_refused() -> None:
    features, labels = some_digits(20)
    with pytest.raises(
        UsageError, match=r"a grid holds positive penalties, as in \[0.01, 1, 100\]; found \[-1\]"
    ):
        solve_ridge(features, labels, digits_task(), [-1])
