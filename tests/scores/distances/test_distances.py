"""Every distance beside a slow one, what it may not depend on, and what is said where there is none."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.optimize import linear_sum_assignment
from scipy.stats import ortho_group, wasserstein_distance

from regraft.core.errors import DataError, MissingPackageError, UsageError
from regraft.scores.distances import DISTANCES, Domains, find_distance
from regraft.scores.distances.otdd import otdd
from regraft.scores.distances.rbf_mmd import rbf_mmd
from regraft.scores.distances.sliced_wasserstein import sliced_wasserstein, transport

CLOSE: dict[str, float] = {"rtol": 1e-8, "atol": 1e-8}
UNLABELLED = [name for name, one in DISTANCES.items() if not one.needs_labels]


def two(count: int = 20, other: int = 26, width: int = 4, apart: float = 0.5, **labels: Any) -> Domains:
    random = np.random.default_rng(0)
    source = random.normal(size=(count, width)) + 3
    return Domains.of(source, random.normal(size=(other, width)) * 1.3 + 3 + apart, **labels)


def test_mmd() -> None:
    domains = two()
    x, y = domains.source.values, domains.target.values
    gap = x.mean(0) - y.mean(0)
    np.testing.assert_allclose(DISTANCES["linear-mmd"].compute(domains), gap @ gap, **CLOSE)
    both = [*x, *y]
    median = np.median([np.linalg.norm(a - b) for a, b in itertools.combinations(both, 2)])

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.exp(-np.square(a - b).sum() / (2 * (0.7 * median) ** 2)))

    expected = np.mean([kernel(a, b) for a, b in itertools.permutations(x, 2)])
    expected += np.mean([kernel(a, b) for a, b in itertools.permutations(y, 2)])
    expected -= 2 * np.mean([kernel(a, b) for a, b in itertools.product(x, y)])
    np.testing.assert_allclose(rbf_mmd(domains, bandwidth=0.7), expected, **CLOSE)


def test_coral() -> None:
    domains = two()
    gap = np.cov(domains.source.values.T) - np.cov(domains.target.values.T)
    np.testing.assert_allclose(
        DISTANCES["coral"].compute(domains), np.square(gap).sum() / (4 * 4**2), **CLOSE
    )


@pytest.mark.parametrize(("count", "other"), [(20, 20), (20, 26), (1, 5), (7, 3)])
def test_transport_along_a_line_is_exact(count: int, other: int) -> None:
    random = np.random.default_rng(count)
    one, two = np.sort(random.normal(size=(count, 3)), 0), np.sort(random.normal(size=(other, 3)), 0)
    expected = [wasserstein_distance(a, b) for a, b in zip(one.T, two.T, strict=True)]
    np.testing.assert_allclose(transport(one, two, 1.0), expected, **CLOSE)
    repeated = np.sort(np.repeat(one, other, axis=0), 0) - np.sort(np.repeat(two, count, axis=0), 0)
    np.testing.assert_allclose(transport(one, two, 2.0), np.square(repeated).mean(0), **CLOSE)


def test_a_shift_is_seen_from_all_sides_by_its_length_over_the_root_of_the_width() -> None:
    values = np.random.default_rng(0).normal(size=(30, 3))
    domains = Domains.of(values, values + np.array([3.0, 0, 0]))
    value = sliced_wasserstein(domains, directions=4000)
    np.testing.assert_allclose(value, 3 / np.sqrt(3), rtol=0.03)


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_otdd(covariance: Any) -> None:
    pytest.importorskip("ot")
    labels = np.arange(24) % 3, np.arange(24) % 2 + 5
    domains = two(24, 24, source_labels=labels[0], target_labels=labels[1])
    x, y = domains.source.values, domains.target.values
    between = {}
    for one, other in itertools.product(set(labels[0]), set(labels[1])):
        sides = x[labels[0] == one], y[labels[1] == other]
        spread = [np.cov(side.T, bias=True) for side in sides]
        if covariance == "diagonal":
            spread = [np.diag(np.diag(side)) for side in spread]
        root = sqrtm(spread[0])
        bures = np.trace(spread[0] + spread[1] - 2 * np.real(sqrtm(root @ spread[1] @ root)))
        between[one, other] = np.square(sides[0].mean(0) - sides[1].mean(0)).sum() + bures
    cost = np.array(
        [
            [np.square(a - b).sum() + between[i, j] for b, j in zip(y, labels[1], strict=True)]
            for a, i in zip(x, labels[0], strict=True)
        ]
    )
    pairs = linear_sum_assignment(cost)
    expected = np.sqrt(cost[pairs].mean())
    np.testing.assert_allclose(otdd(domains, covariance=covariance), expected, rtol=1e-7)


def test_a_data_set_is_at_no_distance_from_itself() -> None:
    pytest.importorskip("ot")
    values, labels = np.random.default_rng(0).normal(size=(30, 4)), np.arange(30) % 3
    same = Domains.of(values, values, source_labels=labels, target_labels=labels)
    assert otdd(same) < 1e-5
    assert otdd(same, limit=20, seed=3) > 0  # two draws


def test_without_pot_the_line_that_installs_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    labels = np.arange(20) % 2
    with pytest.raises(
        MissingPackageError, match=r"otdd needs the package 'ot'.*pip install 'regraft\[ot\]'"
    ):
        otdd(two(20, 20, source_labels=labels, target_labels=labels))


@pytest.mark.parametrize("name", UNLABELLED)
def test_what_is_farther_apart_is_farther(name: str) -> None:
    compute = find_distance(name).compute
    near, far = two(60, 60, apart=0.0), two(60, 60, apart=3.0)
    if name == "coral":  # which does not see means
        far = Domains.of(near.source.values, near.target.values * 4)
    assert compute(far) > compute(near)


def test_domains_that_cannot_be_told_apart_and_those_that_always_can() -> None:
    random = np.random.default_rng(1)
    assert DISTANCES["proxy-a"].compute(two(200, 200, apart=9.0)) == 2.0
    mixed = Domains.of(random.normal(size=(150, 3)), random.normal(size=(300, 3)))
    assert DISTANCES["proxy-a"].compute(mixed) < 0.3
    assert abs(DISTANCES["rbf-mmd"].compute(mixed)) < 0.02


@pytest.mark.parametrize("name", UNLABELLED)
def test_the_order_of_examples_and_of_domains_does_not_matter(name: str) -> None:
    domains, compute = two(22, 22), find_distance(name).compute
    value, order = compute(domains), np.random.default_rng(0).permutation(22)
    shuffled = Domains.of(domains.source.values[order], domains.target.values)
    np.testing.assert_allclose(compute(shuffled), value, **CLOSE)
    np.testing.assert_allclose(
        compute(Domains.of(domains.target.values, domains.source.values)), value, **CLOSE
    )


@pytest.mark.parametrize("name", [one for one in UNLABELLED if one != "sliced-wasserstein"])
def test_turning_and_moving_both_domains_does_not_matter(name: str) -> None:
    domains, compute = two(22, 25), find_distance(name).compute
    turn = ortho_group.rvs(4, random_state=0)
    turned = Domains.of(domains.source.values @ turn - 7, domains.target.values @ turn - 7)
    np.testing.assert_allclose(compute(turned), compute(domains), **CLOSE)


@pytest.mark.parametrize("name", UNLABELLED)
def test_one_and_the_same_point_everywhere(name: str) -> None:
    assert find_distance(name).compute(Domains.of(np.full((5, 3), 0.1), np.full((5, 3), 0.1))) == 0


def test_a_draw_is_one_of_the_seed() -> None:
    domains = two(40, 30, source_labels=np.arange(40) % 4)
    drawn = [domains.at_most(10, seed=seed, purpose="test") for seed in (0, 0, 1)]
    np.testing.assert_array_equal(drawn[0].source.values, drawn[1].source.values)
    assert (drawn[0].source.values != drawn[2].source.values).any()
    assert drawn[0].source_labels is not None
    rows = [np.flatnonzero((domains.source.values == row).all(1))[0] for row in drawn[0].source.values]
    np.testing.assert_array_equal(drawn[0].source_labels, np.array(rows) % 4)
    assert domains.at_most(100, seed=0, purpose="test").target is domains.target


def test_what_cannot_be_compared_is_said() -> None:
    good = np.zeros((3, 2))
    with pytest.raises(DataError, match="the source's are 2 wide, the target's 3"):
        Domains.of(good, np.zeros((3, 3)))
    with pytest.raises(DataError, match="needs 2 examples of each domain, found 3 and 1"):
        Domains.of(good, good[:1])
    with pytest.raises(DataError, match="are not finite, the first in row 1"):
        Domains.of(good, np.array([[0.0, 0], [np.nan, 0]]))
    with pytest.raises(UsageError, match="3 examples of a domain need a whole number each"):
        Domains.of(good, good, source_labels=np.zeros(2, dtype=int))
    with pytest.raises(UsageError, match="otdd moves classes: it needs labels of both domains"):
        otdd(two())
    with pytest.raises(UsageError, match=r"no distance is called 'corel'; there are: linear-mmd, .*'coral'"):
        find_distance("corel")
    with pytest.raises(UsageError, match="a bandwidth is positive"):
        rbf_mmd(two(), bandwidth=0.0)
    with pytest.raises(UsageError, match="power and directions are at least 1"):
        sliced_wasserstein(two(), power=0.5)
