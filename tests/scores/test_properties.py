"""What no score may depend on: turning the features, the order of examples, the names of classes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.stats import ortho_group

from regraft.scores import SCORES, Examples
from tests.scores.problems import probabilities, problem

ALONE = [name for name, score in SCORES.items() if score.compute and name != "n-leep"]
# PARC standardises features and correlates across them; cosines are taken of features as they come.
TURNING_MATTERS = {"parc"}
TOLERANCE: dict[str, float] = {"rtol": 1e-7, "atol": 1e-7}

sizes = st.tuples(st.integers(18, 30), st.sampled_from([2, 5, 40]), st.integers(2, 4))


def values(examples: Examples, names: list[str]) -> np.ndarray:
    return np.array([SCORES[name].of(examples) for name in names])


@given(sizes, st.integers(0, 999))
@settings(max_examples=12, deadline=None)
def test_turning_the_features_changes_nothing(size: tuple[int, int, int], seed: int) -> None:
    features, labels = problem(*size, seed=seed)
    features *= 0.3  # where the shrinkage of sfda is above its floor
    theta = probabilities(size[0], 3, seed=seed)
    names = [name for name in ALONE if name not in TURNING_MATTERS]
    turn = ortho_group.rvs(size[1], random_state=seed) if size[1] > 1 else np.eye(1)
    before = values(Examples.of(features, labels, source_probabilities=theta), names)
    after = values(Examples.of(features @ turn, labels, source_probabilities=theta), names)
    np.testing.assert_allclose(after, before, err_msg=str(names), **TOLERANCE)


@given(sizes, st.integers(0, 999))
@settings(max_examples=12, deadline=None)
def test_order_and_names_change_nothing(size: tuple[int, int, int], seed: int) -> None:
    features, labels = problem(*size, seed=seed)
    features *= 0.3
    theta = probabilities(size[0], 3, seed=seed)
    random = np.random.default_rng(seed)
    order, name = random.permutation(size[0]), random.permutation(size[2]) * 7 + 1
    before = values(Examples.of(features, labels, source_probabilities=theta), ALONE)
    changed = Examples.of(
        features[order], name[labels][order], source_probabilities=theta[order][:, [2, 0, 1]]
    )
    np.testing.assert_allclose(values(changed, ALONE), before, err_msg=str(ALONE), **TOLERANCE)


@given(sizes, st.integers(0, 999))
@settings(max_examples=10, deadline=None)
def test_scores_stay_within_their_bounds(size: tuple[int, int, int], seed: int) -> None:
    features, labels = problem(*size, seed=seed)
    examples = Examples.of(features, labels, source_probabilities=probabilities(size[0], 3, seed=seed))
    bounds = {
        "leep": (-np.inf, 0),
        "nce": (-np.log(size[2]), 0),
        "h": (0, size[2] - 1),
        "regularised-h": (0, size[2] - 1),
        "gbc": (-size[2] * (size[2] - 1), 0),
        "sfda": (0, 1),
        "parc": (-1, 1),
        "cka": (0, 1),
        "centroid-cka": (0, 1),
        "knn": (0, 1),
        "ridge": (0, 1),
    }
    for name, (low, high) in bounds.items():
        assert low - 1e-9 <= SCORES[name].of(examples) <= high + 1e-9, name


@pytest.mark.parametrize("name", ["n-leep", "ncti"])
def test_scores_by_other_libraries_do_not_see_a_turn(name: str) -> None:
    """Mixtures begin with examples drawn by number, discriminants with none: turning keeps both."""
    features, labels = problem(60, 6, 3)
    turn = ortho_group.rvs(6, random_state=0)
    weak = Examples.of(np.random.default_rng(0).normal(size=(60, 6)), labels)
    before = SCORES[name].among([weak, Examples.of(features, labels)])
    after = SCORES[name].among([weak, Examples.of(features @ turn, labels)])
    np.testing.assert_allclose(after, before, rtol=1e-6, atol=1e-6)
