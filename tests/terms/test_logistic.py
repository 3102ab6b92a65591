import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.special import softmax
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler

from regraft.core.errors import DataError, UsageError
from regraft.core.task_spec import TaskSpec
from regraft.tasks import Task, make_task
from regraft.terms.solvers import Solution, solve_logistic
from regraft.terms.solvers.convex import LogisticProblems, minimise
from regraft.terms.solvers.folds import deal_folds, walk
from regraft.terms.solvers.logistic import logistic_problem, standardise


def classes(count: int) -> Task:
    kind = "binary" if count == 2 else "multiclass"
    return make_task(TaskSpec("y", kind, tuple(f"class {n}" for n in range(count))))


def problem(count: int, width: int, kinds: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = np.arange(count) % kinds
    middles = random.normal(size=(kinds, width))
    return random.normal(size=(count, width)) * 2 + middles[labels] + 3, labels


def absolute(features: np.ndarray, relative: float) -> float:
    """The penalty of standardised features that a relative one stands for."""
    scaled = StandardScaler().fit_transform(features)
    values = np.linalg.svd(scaled, compute_uv=False) ** 2
    return relative * float(values[values > 1e-9].mean())


def same(
    solution: Solution, reference: LogisticRegression, scaler: StandardScaler, features: np.ndarray
) -> None:
    """Equal up to what softmax cannot see: a shift of all classes."""
    ours = features @ solution.weight.T + solution.bias
    theirs = reference.decision_function(scaler.transform(features))
    if theirs.ndim == 1:
        theirs = np.stack([-theirs / 2, theirs / 2], axis=1)
    ours, theirs = ours - ours.mean(1, keepdims=True), theirs - theirs.mean(1, keepdims=True)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize(("count", "width", "kinds"), [(90, 5, 3), (30, 60, 3), (60, 4, 2), (20, 30, 2)])
@pytest.mark.parametrize("relative", [1e-3, 0.1, 10.0])
def test_the_solution_is_scikit_learns(count: int, width: int, kinds: int, relative: float) -> None:
    features, labels = problem(count, width, kinds)
    solution = solve_logistic(features, labels, classes(kinds), [relative])
    scaler = StandardScaler().fit(features)
    # A single sigmoid has half the squared weight of two classes that share it.
    strength = (2 if kinds == 2 else 1) / absolute(features, relative)
    reference = LogisticRegression(C=strength, tol=1e-10, max_iter=100_000, solver="lbfgs")
    reference.fit(scaler.transform(features), labels)
    same(solution, reference, scaler, features)


def test_on_real_digits_it_is_as_good_as_scikit_learn() -> None:
    features, labels = load_digits(return_X_y=True)
    train, test = np.split(np.random.default_rng(0).permutation(1797), [300])
    solution = solve_logistic(features[train], labels[train], classes(10))
    ours = ((features[test] @ solution.weight.T + solution.bias).argmax(1) == labels[test]).mean()
    scaler = StandardScaler().fit(features[train])
    reference = LogisticRegression(max_iter=5000).fit(scaler.transform(features[train]), labels[train])
    assert ours >= reference.score(scaler.transform(features[test]), labels[test]) - 0.005
    assert ours > 0.88


def test_held_out_logits_are_of_fits_that_did_not_see_the_example() -> None:
    features, labels = problem(60, 200, 3)
    labels = np.random.default_rng(1).permutation(labels)
    solution = solve_logistic(features, labels, classes(3), [1e-3])
    seen = (features @ solution.weight.T + solution.bias).argmax(1) == labels
    unseen = solution.held_out.argmax(1) == labels
    assert seen.mean() == 1.0
    assert unseen.mean() < 0.6
    calibrated = classes(3).scores(solution.calibrated().held_out)
    assert solution.score == pytest.approx(log_loss(labels, calibrated), abs=1e-6)
    assert solution.score < log_loss(labels, classes(3).scores(solution.held_out))


def test_the_grid_is_walked_from_strong_to_weak_and_the_best_log_loss_wins() -> None:
    features, labels = problem(60, 5, 3)
    solution = solve_logistic(features, labels, classes(3), [0.01, 100.0, 1.0])
    line = solution.history
    assert line["grid"] == [100.0, 1.0, 0.01]
    assert line["chosen"] == line["grid"][int(np.argmin(line["scores"]))]
    assert (line["kind"], line["solver"], line["metric"]) == ("solve", "logistic", "log-loss")
    assert solution.score == min(line["scores"])


def test_the_same_bits_come_out_twice() -> None:
    features, labels = problem(50, 80, 4)
    first, second = (solve_logistic(features, labels, classes(4), seed=3) for _ in range(2))
    assert first.weight.tobytes() == second.weight.tobytes()
    assert first.bias.tobytes() == second.bias.tobytes()
    assert first.held_out.tobytes() == second.held_out.tobytes()


def test_rows_without_a_label_are_left_out() -> None:
    features, labels = problem(50, 4, 3)
    spoilt = labels.copy()
    spoilt[40:] = -1
    solution = solve_logistic(features, spoilt, classes(3))
    alone = solve_logistic(features[:40], labels[:40], classes(3))
    assert solution.weight.tobytes() == alone.weight.tobytes()
    assert np.isnan(solution.held_out[40:]).all()


def test_a_class_with_one_example_is_never_held_out() -> None:
    features, labels = problem(31, 4, 3)
    labels = np.where(np.arange(31) == 30, 3, labels)
    solution = solve_logistic(features, labels, classes(4))
    assert np.isnan(solution.held_out[30]).all()
    assert np.isfinite(solution.held_out[:30]).all()
    assert np.isfinite(solution.weight).all()


def test_a_class_without_an_example_is_improbable_everywhere() -> None:
    features, labels = problem(40, 4, 3)
    task = classes(5)
    solution = solve_logistic(features, labels, task)
    probabilities = task.scores(features @ solution.weight.T + solution.bias)
    assert not solution.weight[3:].any()
    assert probabilities[:, 3:].max() < 0.1
    assert 1e-4 < probabilities[:, 3].mean() < 0.05


def test_features_that_do_not_vary_get_no_weight() -> None:
    features, labels = problem(40, 4, 3)
    features[:, 1] = 0.1
    solution = solve_logistic(features, labels, classes(3))
    assert not solution.weight[:, 1].any()
    flat = solve_logistic(np.full((40, 3), 0.1), np.arange(40) % 4 // 3, classes(2))
    assert not flat.weight.any()
    np.testing.assert_allclose(classes(2).scores(flat.bias[None]), [[0.75, 0.25]], atol=1e-6)


def test_duplicated_rows_and_columns_do_no_harm() -> None:
    features, labels = problem(20, 4, 2)
    doubled = solve_logistic(np.tile(features, (2, 2)), np.tile(labels, 2), classes(2))
    assert np.isfinite(doubled.weight).all()
    np.testing.assert_allclose(doubled.weight[:, :4], doubled.weight[:, 4:], atol=1e-7)


def test_two_examples_of_two_classes_can_be_told_apart() -> None:
    features = np.array([[0.0, 1.0], [1.0, 1.0]])
    solution = solve_logistic(features, np.array([0, 1]), classes(2))
    assert (features @ solution.weight.T + solution.bias).argmax(1).tolist() == [0, 1]
    assert np.isnan(solution.score)
    assert set(solution.history["scores"]) == {None}
    assert solution.history["chosen"] == 1.0


def test_several_labels_at_once_get_a_sigmoid_each() -> None:
    task = make_task(TaskSpec("tags", "multilabel", ("a", "b", "never")))
    features, labels = problem(80, 4, 2)
    rows = np.stack([labels, features[:, 0] > 3, np.zeros(80)], axis=1).astype(np.float32)
    solution = solve_logistic(features, rows, task, [0.1])
    scores = task.scores(features @ solution.weight.T + solution.bias)
    assert scores[:, 2].max() < 0.01
    scaler = StandardScaler().fit(features)
    reference = LogisticRegression(C=1 / absolute(features, 0.1), tol=1e-10, max_iter=100_000)
    for column in (0, 1):
        reference.fit(scaler.transform(features), rows[:, column])
        expected = reference.predict_proba(scaler.transform(features))[:, 1]
        np.testing.assert_allclose(scores[:, column], expected, atol=1e-5)


@given(st.integers(2, 24), st.integers(1, 30), st.integers(2, 5), st.integers(0, 500))
@settings(max_examples=25, deadline=None)
def test_any_shape_ends_at_a_stationary_point(count: int, width: int, kinds: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    features, labels = random.normal(size=(count, width)), random.integers(0, kinds, count)
    solution = solve_logistic(features, labels, classes(kinds), [0.3])
    residual = classes(kinds).scores(features @ solution.weight.T + solution.bias) - np.eye(kinds)[labels]
    present = np.unique(labels)
    spread = features.std(0)
    gradient = (features / spread).T @ residual[:, present]
    gradient += absolute(features, 0.3) * (solution.weight * spread)[present].T
    if len(present) == kinds:
        np.testing.assert_allclose(gradient, 0, atol=1e-4 * count)
        np.testing.assert_allclose(residual.sum(0), 0, atol=1e-4 * count)


def test_problems_solved_together_equal_each_alone() -> None:
    random = np.random.default_rng(0)
    examples = np.linalg.qr(random.normal(size=(30, 5)))[0] * 3
    shared = {
        "examples": examples,
        "curvature": np.full(5, 9.0),
        "truth": np.eye(3)[random.integers(0, 3, 30)].T,
        "penalised": np.ones(5),
        "exclusive": True,
    }
    learns = (random.random((4, 30)) < 0.8).astype(float)
    together = LogisticProblems(learns=learns, **shared)
    found = minimise(together, 0.5, together.start, tolerance=1e-14)
    for number in range(4):
        alone = LogisticProblems(learns=learns[number : number + 1], **shared)
        single = minimise(alone, 0.5, alone.start, tolerance=1e-14)
        np.testing.assert_allclose(found.parameters[number], single.parameters[0], atol=1e-5)


def test_what_cannot_be_solved_is_refused() -> None:
    features, labels = problem(10, 3, 2)
    with pytest.raises(
        UsageError, match="'age' is a regression and has no logistic head; solve it with ridge"
    ):
        solve_logistic(features, features[:, 0], make_task(TaskSpec("age", "regression")))
    with pytest.raises(UsageError, match=r"found features \(10, 3\) and 9 labels"):
        solve_logistic(features, labels[:9], classes(2))
    with pytest.raises(UsageError, match=r"a grid holds positive penalties.*found \[0\]"):
        solve_logistic(features, labels, classes(2), [0])
    with pytest.raises(DataError, match="at least 2 labelled examples, found 1"):
        solve_logistic(features, np.where(np.arange(10) == 4, 1, -1), classes(2))
    features[7, 1] = np.inf
    with pytest.raises(DataError, match="1 labelled examples are not finite, the first in row 7"):
        solve_logistic(features, labels, classes(2))


def objective(weight: np.ndarray, bias: np.ndarray, x: np.ndarray, y: np.ndarray, penalty: float) -> float:
    """Per example, for standardised features."""
    loss = log_loss(y, softmax(x @ weight.T + bias, axis=1), normalize=False)
    return float((loss + 0.5 * penalty * (weight**2).sum()) / len(y))


def test_every_fold_ends_where_scikit_learn_does_or_lower() -> None:
    features, labels = load_digits(return_X_y=True)
    chosen = np.flatnonzero(labels < 4)[:300]
    x, y = StandardScaler().fit_transform(features[chosen]), labels[chosen]
    standard = standardise(x)
    problems = logistic_problem(standard.parts, np.eye(4)[y], exclusive=True)
    fold = deal_folds(y, 5, seed=0)
    penalties = [100.0, 10.0, 1.0]
    for penalty, fits in zip(penalties, walk(problems, penalties, fold), strict=True):
        for number, parameters in enumerate(fits.parameters.astype(np.float64)):
            weight, bias = standard.in_features(parameters)
            learn, held = (x[fold != number], y[fold != number]), x[fold == number]
            usual = LogisticRegression(C=1 / penalty, max_iter=1000).fit(*learn)
            exact = LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=10_000).fit(*learn)
            ours = objective(weight, bias, *learn, penalty)
            assert ours <= objective(usual.coef_, usual.intercept_, *learn, penalty) + 1e-7
            best = objective(exact.coef_, exact.intercept_, *learn, penalty)
            assert ours == pytest.approx(best, abs=1e-6)
            # Folds only choose; the head that is kept is solved further, see the first test.
            np.testing.assert_allclose(weight, exact.coef_, atol=2e-3)
            np.testing.assert_allclose(fits.held_out[:, fold == number].T, held @ weight.T + bias, atol=1e-4)


def test_the_chosen_head_has_scikit_learns_coefficients() -> None:
    features, labels = load_digits(return_X_y=True)
    chosen = np.flatnonzero(labels < 4)[:300]
    x, y = StandardScaler().fit_transform(features[chosen]), labels[chosen]
    solution = solve_logistic(x, y, classes(4), [0.01, 0.1])
    penalty = absolute(x, solution.history["chosen"])
    exact = LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=10_000).fit(x, y)
    np.testing.assert_allclose(solution.weight, exact.coef_, atol=1e-4)
    ours = objective(solution.weight, solution.bias, x, y, penalty)
    assert ours == pytest.approx(objective(exact.coef_, exact.intercept_, x, y, penalty), abs=1e-9)


def test_with_patience_the_whole_grid_is_walked() -> None:
    features, labels = problem(60, 30, 3)
    grid = [10.0**power for power in range(2, -6, -1)]
    short = solve_logistic(features, labels, classes(3), grid)
    whole = solve_logistic(features, labels, classes(3), grid, patience=len(grid))
    assert len(whole.history["scores"]) == len(grid) > len(short.history["scores"])
    assert whole.history["chosen"] == short.history["chosen"]
    assert whole.weight.tobytes() == short.weight.tobytes()
