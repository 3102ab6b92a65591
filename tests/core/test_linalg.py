import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from regraft.core.linalg import decompose, leave_one_out, ridge_coefficients

SHAPES = ((40, 6), (6, 40), (12, 12), (2, 5), (30, 1))


def problem(count: int, width: int, outputs: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    features = random.normal(5, 2, (count, width)) * np.geomspace(1, 0.05, width)
    return features, random.normal(size=(count, outputs))


def explicit(features: np.ndarray, targets: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """Ridge by the normal equations of the centred problem."""
    mean, centre = features.mean(0), targets.mean(0)
    centred = features - mean
    gram = centred.T @ centred + penalty * np.eye(features.shape[1])
    weight = np.linalg.solve(gram, centred.T @ (targets - centre)).T
    return weight, centre - weight @ mean


def refitted(features: np.ndarray, targets: np.ndarray, penalty: float) -> np.ndarray:
    rows = []
    for left_out in range(len(features)):
        others = np.arange(len(features)) != left_out
        weight, bias = explicit(features[others], targets[others], penalty)
        rows.append(weight @ features[left_out] + bias)
    return np.array(rows)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_parts_give_the_features_back(shape: tuple[int, int]) -> None:
    features, _ = problem(*shape)
    parts = decompose(features)
    assert parts.rank == min(shape[0] - 1, shape[1])
    assert (np.diff(parts.s) <= 0).all()
    np.testing.assert_allclose(parts.components() @ parts.V.T + parts.mean, features, atol=1e-9)
    np.testing.assert_allclose(parts.U.T @ parts.U, np.eye(parts.rank), atol=1e-9)
    np.testing.assert_allclose(parts.V.T @ parts.V, np.eye(parts.rank), atol=1e-9)
    np.testing.assert_allclose(parts.U.sum(0), 0, atol=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("penalty", [1e-2, 1.0, 100.0])
def test_leave_one_out_equals_explicit_refits(shape: tuple[int, int], penalty: float) -> None:
    features, targets = problem(*shape)
    (fast,) = leave_one_out(decompose(features), targets, [penalty])
    np.testing.assert_allclose(fast, refitted(features, targets, penalty), atol=1e-9)


def test_without_the_intercept_in_the_leverage_it_would_be_wrong() -> None:
    """The comparison above can fail: the classical leverage alone is off by far more than 1e-9."""
    features, targets = problem(12, 4)
    parts = decompose(features)
    shrink = parts.s / (parts.s + 1.0)
    fit = targets.mean(0) + (parts.U * shrink) @ (parts.U.T @ (targets - targets.mean(0)))
    naive = targets - (targets - fit) / (1 - (parts.U**2 @ shrink))[:, None]
    assert np.abs(naive - refitted(features, targets, 1.0)).max() > 1e-2


@pytest.mark.parametrize("shape", SHAPES)
def test_coefficients_solve_the_normal_equations(shape: tuple[int, int]) -> None:
    features, targets = problem(*shape)
    for fast, slow in zip(
        ridge_coefficients(decompose(features), targets, 0.3), explicit(features, targets, 0.3), strict=True
    ):
        np.testing.assert_allclose(fast, slow, atol=1e-8)


@given(st.integers(2, 25), st.integers(1, 25), st.integers(0, 1000), st.floats(1e-3, 1e3))
@settings(max_examples=30, deadline=None)
def test_leave_one_out_holds_for_any_shape(count: int, width: int, seed: int, penalty: float) -> None:
    features, targets = problem(count, width, 2, seed)
    (fast,) = leave_one_out(decompose(features), targets, [penalty])
    np.testing.assert_allclose(fast, refitted(features, targets, penalty), rtol=1e-7, atol=1e-7)


def test_a_grid_is_the_same_as_one_penalty_after_the_other() -> None:
    features, targets = problem(30, 8)
    parts = decompose(features)
    grid = [0.01, 0.1, 1.0, 10.0]
    for penalty, together in zip(grid, leave_one_out(parts, targets, grid), strict=True):
        (alone,) = leave_one_out(parts, targets, [penalty])
        np.testing.assert_allclose(together, alone, atol=1e-12)


def test_duplicates_and_dependent_features_lose_rank_and_nothing_else() -> None:
    features, targets = problem(10, 4)
    features = np.concatenate([features, features])
    features = np.concatenate([features, features[:, :2], np.ones((20, 1))], axis=1)
    targets = np.concatenate([targets, targets + 0.1])
    parts = decompose(features)
    assert parts.rank == 4
    (fast,) = leave_one_out(parts, targets, [0.5])
    np.testing.assert_allclose(fast, refitted(features, targets, 0.5), atol=1e-9)


def test_constant_features_predict_the_mean_of_the_others() -> None:
    targets = np.array([[1.0], [2.0], [6.0]])
    parts = decompose(np.full((3, 4), 7.1))
    assert (parts.rank, parts.unit) == (0, 1.0)
    (fast,) = leave_one_out(parts, targets, [1.0])
    np.testing.assert_allclose(fast[:, 0], [4.0, 3.5, 1.5])
    weight, bias = ridge_coefficients(parts, targets, 1.0)
    assert not weight.any()
    assert bias.tolist() == [3.0]


@pytest.mark.parametrize("features", [np.empty((0, 3)), np.empty((3, 0)), np.zeros(3)])
def test_nothing_to_decompose_is_refused(features: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"features of shape \(examples, width\) are needed, found"):
        decompose(features)


def test_numbers_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        decompose(np.array([[1.0, np.nan], [0.0, 1.0]]))
