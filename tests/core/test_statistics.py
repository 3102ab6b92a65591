import itertools

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats

from regraft.core.statistics import (
    Estimate,
    TestPart,
    Verdict,
    decide,
    equivalence_test,
    estimate,
    holm,
    sign_flip_test,
    t_test,
)

SERIES = [0.01, 0.03, 0.02, -0.01, 0.04, 0.02, 0.03, 0.01]


def test_without_overlap_and_test_part_it_is_the_t_interval() -> None:
    found = estimate(SERIES)
    expected = stats.t.interval(0.95, 7, np.mean(SERIES), stats.sem(SERIES))
    assert (found.low, found.high) == pytest.approx(expected)
    assert t_test(found) == pytest.approx(stats.ttest_1samp(SERIES, 0).pvalue)
    assert found.degrees == pytest.approx(7)


def test_overlap_widens_as_nadeau_and_bengio_say() -> None:
    plain, corrected = estimate(SERIES), estimate(SERIES, overlap=0.2)
    ratio = corrected.standard_error / plain.standard_error
    assert ratio == pytest.approx(((1 / 8 + 0.25) / (1 / 8)) ** 0.5)


def test_the_test_part_is_added_and_its_interaction_spared_from_the_overlap() -> None:
    spread = float(np.var(SERIES, ddof=1))
    part = TestPart(shared=1e-4, interaction=spread / 2, count=500)
    found = estimate(SERIES, overlap=0.5, test=part)
    spared, whole = spread / 8 + spread / 2 + 1e-4, spread / 8 + spread + 1e-4
    assert spared < found.standard_error**2 < whole, "how much is spared is uncertain by itself"
    assert 7 < found.degrees < 506
    alone = estimate([0.02] * 8, test=TestPart(shared=1e-4, count=500))
    assert (alone.standard_error, alone.degrees) == pytest.approx((0.01, 499))


def test_a_table_of_examples_gives_the_two_way_variances() -> None:
    random = np.random.default_rng(0)
    tables = random.normal(0, 2, (300, 1, 50)) + random.normal(0, 3, (300, 8, 1))
    tables = tables + random.normal(0, 1, (300, 8, 50))
    parts = [TestPart.of_examples(table) for table in tables]
    assert np.mean([part.interaction for part in parts]) == pytest.approx(1 / 50, rel=0.05)
    assert np.mean([part.shared for part in parts]) == pytest.approx((4 + 1 / 8) / 50, rel=0.05)


def test_resamples_give_the_same_variances_as_the_table() -> None:
    random = np.random.default_rng(1)
    table = random.normal(size=(1, 200)) + random.normal(size=(6, 200))
    counts = random.multinomial(200, np.full(200, 1 / 200), size=4000)
    exact, found = TestPart.of_examples(table), TestPart.of_resamples(table @ counts.T / 200, 200)
    assert found.shared == pytest.approx(exact.shared, rel=0.1)
    assert found.interaction == pytest.approx(exact.interaction, rel=0.1)
    assert found.count == 200


def test_undefined_resamples_are_left_out() -> None:
    values = np.random.default_rng(2).normal(size=(3, 50))
    spoilt = np.concatenate([values, np.full((3, 1), np.nan)], axis=1)
    assert TestPart.of_resamples(spoilt, 9) == TestPart.of_resamples(values, 9)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=9))
@settings(max_examples=50, deadline=None)
def test_sign_flips_equal_a_plain_count(differences: list[float]) -> None:
    observed = abs(sum(differences))
    flips = [abs(sum(s * d for s, d in zip(signs, differences, strict=True))) for signs in
             itertools.product((1, -1), repeat=len(differences))]  # fmt: skip
    p = sign_flip_test(differences)
    low = np.mean([flip >= observed + 1e-9 for flip in flips])
    high = np.mean([flip >= observed - 1e-9 for flip in flips])
    assert low <= p <= high


def test_sign_flips_of_six_seeds_cannot_be_below_one_in_thirty_two() -> None:
    assert sign_flip_test([1, 2, 3, 4, 5, 6]) == 2 / 64
    assert sign_flip_test([0.5] * 8) == 2 / 256
    assert sign_flip_test([0.0, 0.0]) == 1.0


def test_many_seeds_are_flipped_at_random_and_reproducibly() -> None:
    random = np.random.default_rng(0)
    differences = random.normal(0.5, 1, 20)
    p = sign_flip_test(differences)
    assert p == sign_flip_test(differences)
    assert p == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, abs=0.02)
    assert sign_flip_test([1.0] * 20) >= 1 / 20_000


def test_holm_is_the_textbooks() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_keeps_the_order_and_never_lowers(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(np.array(adjusted)[order]) >= 0).all()


def contrast(mean: float, error: float) -> Estimate:
    half = float(stats.t.ppf(0.975, 10)) * error
    return Estimate((mean,) * 2, mean, mean - half, mean + half, 0.95, error, 10)


@pytest.mark.parametrize(
    ("mean", "error", "verdict"),
    [
        (0.03, 0.005, Verdict.HELPED),
        (-0.03, 0.005, Verdict.HARMED),
        (0.001, 0.001, Verdict.EQUIVALENT),
        (0.004, 0.004, Verdict.INCONCLUSIVE),
        (0.012, 0.004, Verdict.INCONCLUSIVE),
        (0.0, 0.0, Verdict.EQUIVALENT),
        (0.02, 0.0, Verdict.HELPED),
        (0.005, 0.0, Verdict.INCONCLUSIVE),
    ],
)
def test_verdicts(mean: float, error: float, verdict: Verdict) -> None:
    assert decide(contrast(mean, error), 0.005) is verdict


@given(st.floats(-0.1, 0.1), st.floats(0, 0.1), st.floats(1e-4, 0.05))
def test_a_verdict_mirrors_when_the_arms_are_swapped(mean: float, error: float, delta: float) -> None:
    mirrored = {Verdict.HELPED: Verdict.HARMED, Verdict.HARMED: Verdict.HELPED}
    verdict = decide(contrast(mean, error), delta)
    assert decide(contrast(-mean, error), delta) is mirrored.get(verdict, verdict)


def test_equivalence_is_the_larger_of_two_one_sided_tests() -> None:
    found = contrast(0.002, 0.002)
    upper, lower = stats.t.sf(3.5, 10), stats.t.sf(1.5, 10)
    assert equivalence_test(found, 0.005) == pytest.approx(max(upper, lower))


@pytest.mark.parametrize("values", [[0.1], [], [0.1, float("nan")]])
def test_too_few_seeds_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="at least 2 seeds with a finite value each are needed"):
        estimate(values)


def test_an_overlap_that_is_no_fraction_is_refused() -> None:
    with pytest.raises(ValueError, match="from 0 to below 1, found 1"):
        estimate(SERIES, overlap=1)


# --- simulations -------------------------------------------------------------------------------------------


def simulated(
    random: np.random.Generator, *, pool: int, drawn: int, test: int, width: int = 20, seeds: int = 8
) -> np.ndarray:
    """Paired differences ``(seeds, test)`` in hits of two linear classifiers that are equally good.

    Arm A reads one set of features, arm B another of the same distribution: there is no difference in the
    population, while every pool, draw and test part shows one.
    """
    labels = random.integers(0, 2, pool + test)
    views = random.normal(size=(2, pool + test, width)) + 0.15 * (2 * labels - 1)[:, None]
    table = np.empty((seeds, test))
    for seed in range(seeds):
        train = random.permutation(pool)[:drawn]
        hits = [linear_hits(view, labels, train, pool) for view in views]
        table[seed] = hits[0] - hits[1]
    return table


def linear_hits(features: np.ndarray, labels: np.ndarray, train: np.ndarray, pool: int) -> np.ndarray:
    known, signs = features[train], 2.0 * labels[train] - 1
    mean, centre = known.mean(0), signs.mean()
    gram = (known - mean).T @ (known - mean) + np.eye(features.shape[1])
    weight = np.linalg.solve(gram, (known - mean).T @ (signs - centre))
    predicted = (features[pool:] - mean) @ weight + centre > 0
    return (predicted == (labels[pool:] == 1)).astype(float)


def wrong_verdicts(setting: dict[str, int], shift: float, trials: int, overlap: float) -> float:
    """Share of verdicts that claim more than delta where the truth is no more than delta."""
    random = np.random.default_rng(7)
    wrong = 0
    for _ in range(trials):
        table = simulated(random, **setting)
        part = TestPart.of_examples(table)
        found = estimate(table.mean(1) + shift, overlap=overlap, test=part)
        wrong += decide(found, abs(shift)) in (Verdict.HELPED, Verdict.HARMED)
    return wrong / trials


def at_most(share: float, trials: int) -> float:
    """A share that Monte Carlo error of three standard deviations may reach."""
    return share + 3 * (share * (1 - share) / trials) ** 0.5


SETTINGS = [
    {"pool": 100, "drawn": 80, "test": 1500},
    {"pool": 300, "drawn": 240, "test": 300},
    {"pool": 1000, "drawn": 120, "test": 300},
]


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: f"{setting['drawn']} of {setting['pool']}")
@pytest.mark.parametrize("effect", [0.0, 0.005], ids=["no effect", "effect of delta"])
def test_wrong_verdicts_are_rare(setting: dict[str, int], effect: float) -> None:
    overlap = setting["drawn"] / setting["pool"]
    share = wrong_verdicts(setting, effect, 150, overlap)
    assert share <= at_most(0.05, 150)


def test_without_the_overlap_they_would_not_be() -> None:
    """The simulation can fail: forgetting that draws overlap is caught by it."""
    share = wrong_verdicts(SETTINGS[0], 0.0, 150, 0.0)
    assert share > at_most(0.05, 150)


def test_a_real_difference_is_found() -> None:
    random = np.random.default_rng(3)
    found = []
    for _ in range(20):
        table = simulated(random, pool=1000, drawn=120, test=1500)
        part = TestPart.of_examples(table)
        found.append(decide(estimate(table.mean(1) + 0.08, overlap=0.12, test=part), 0.005))
    assert found.count(Verdict.HELPED) >= 17
