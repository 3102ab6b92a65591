from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings, strategies as some

from regraft.core.errors import DataError, UsageError
from regraft.targets import Target


def target_of(
    contents: list[int], labels: list[int], groups: list[int] | None = None, **options: object
) -> Target:
    """A target whose examples with equal numbers have equal bytes."""
    images = np.zeros((len(contents), 2, 2), dtype=np.uint8)
    images[:, 0, 0] = np.array(contents) % 256
    images[:, 0, 1] = np.array(contents) // 256
    return Target.from_arrays(images, [f"c{label}" for label in labels], groups=groups, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def digit_target(digits: tuple[np.ndarray, np.ndarray]) -> Target:
    return Target.from_arrays(*digits)


def test_the_test_part_depends_on_content_only(digits: tuple[np.ndarray, np.ndarray]) -> None:
    order = np.random.default_rng(0).permutation(len(digits[0]))
    one, other = Target.from_arrays(*digits), Target.from_arrays(digits[0][order], digits[1][order])
    assert {one.examples.hashes[i] for i in one.test} == {other.examples.hashes[i] for i in other.test}
    assert one.fingerprint != other.fingerprint
    assert one.fingerprint == Target.from_arrays(*digits).fingerprint


def test_sizes_and_salts_of_the_test_part(digit_target: Target) -> None:
    assert abs(len(digit_target.test) - 359) <= 1
    large = digit_target.with_test(1697)
    assert len(large.test) == 1697
    counts = np.bincount(large.labels(large.pool)["label"], minlength=10)
    assert counts.min() >= 8
    assert counts.max() <= 12
    salted = digit_target.with_test(0.2, salt="other")
    assert 0.1 < np.isin(salted.test, digit_target.test).mean() < 0.35
    assert digit_target.with_test(0).test.size == 0
    for wrong in (1797, -1, 1.0, 1.5):
        with pytest.raises(UsageError, match=r"a test part of .* was asked for out of 1797"):
            digit_target.with_test(wrong)


def test_draws_are_stratified_nested_and_functions_of_the_seed(digit_target: Target) -> None:
    small, large = digit_target.draw(3, per_class=10), digit_target.draw(3, per_class=20)
    assert (len(small.train), len(small.validation)) == (80, 20)
    assert set(small.train) < set(large.train)
    assert set(small.validation) < set(large.validation)
    assert np.bincount(digit_target.labels(small.train)["label"]).tolist() == [8] * 10
    again, other = digit_target.draw(3, per_class=10), digit_target.draw(4, per_class=10)
    assert np.array_equal(again.train, small.train)
    assert len(np.intersect1d(other.train, small.train)) < 30
    whole = digit_target.draw(0)
    assert len(whole.train) + len(whole.validation) == len(digit_target.pool)
    sized = digit_target.draw(0, train_size=100)
    assert len(sized.train) + len(sized.validation) == 100
    assert len(digit_target.draw(0, validation=0).validation) == 0


def test_wrong_draws_are_refused(digit_target: Target) -> None:
    with pytest.raises(UsageError, match="both given"):
        digit_target.draw(0, train_size=10, per_class=1)
    with pytest.raises(UsageError, match="at least 1; got 0"):
        digit_target.draw(0, train_size=0)
    with pytest.raises(UsageError, match="from 0 up to 1; got 1"):
        digit_target.draw(0, validation=1)
    values = Target.from_arrays(np.arange(80, dtype=np.uint8).reshape(20, 2, 2), np.linspace(0, 1, 20))
    with pytest.raises(UsageError, match=r"per_class=3 needs classes.*train_size="):
        values.draw(0, per_class=3)


def refused_where_all_hang_together(make: Callable[[], Target]) -> Target | None:
    """A target, or None where it is rightly refused."""
    try:
        return make()
    except DataError as error:
        if "hang together" not in str(error):
            raise
        return None


@settings(max_examples=60, deadline=None)
@given(data=some.data())
def test_nothing_stands_on_two_sides(data: some.DataObject) -> None:
    count = data.draw(some.integers(20, 60))
    contents = data.draw(some.lists(some.integers(0, 40), min_size=count, max_size=count))
    labels = [index % 3 for index in range(count)]
    groups = data.draw(some.none() | some.lists(some.integers(0, 25), min_size=count, max_size=count))
    target = refused_where_all_hang_together(lambda: target_of(contents, labels, groups))
    seed, size = data.draw(some.integers(0, 5)), data.draw(some.none() | some.integers(1, 50))
    if target is None:
        return
    draw = target.draw(seed, train_size=size)
    sides = [set(draw.train.tolist()), set(draw.validation.tolist()), set(target.test.tolist())]
    for keys in (contents, groups or contents):
        seen = [{keys[index] for index in side} for side in sides]
        assert not seen[0] & seen[1]
        assert not (seen[0] | seen[1]) & seen[2]


def test_leaving_examples_out_moves_nothing_else(digit_target: Target) -> None:
    smaller = digit_target.without([(0, "because"), (5, "because")])
    assert len(smaller) == 1795
    assert [bad.item for bad in smaller.unreadable] == ["image 1", "image 6"]
    before = {digit_target.examples.hashes[i] for i in digit_target.test}
    gone = {digit_target.examples.hashes[0], digit_target.examples.hashes[5]}
    assert {smaller.examples.hashes[i] for i in smaller.test} == before - gone
    assert digit_target.without([]) is digit_target


def test_groups_that_cross_given_splits_are_reported(digits: tuple[np.ndarray, np.ndarray]) -> None:
    import pandas as pd

    texts = [f"text number {index}" for index in range(40)]
    table = pd.DataFrame(
        {
            "text": texts,
            "label": ["a", "b"] * 20,
            "part": ["train"] * 30 + ["test"] * 10,
            "who": [index % 35 for index in range(40)],
        }
    )
    target = Target.from_table(table, group="who", split="part")
    assert any("Leak: 5 groups stand both" in note for note in target.notes)
    table["part"] = "somewhere"
    with pytest.raises(DataError, match="split words somewhere are not known"):
        Target.from_table(table, split="part")


def test_copies_with_other_labels_are_reported() -> None:
    target = target_of([*range(30), 1, 2], [index % 2 for index in range(30)] + [0, 0])
    assert any("are copies of others" in note for note in target.notes) or len(target.test)


def test_imbalance_is_reported() -> None:
    target = target_of(list(range(100)), [0] * 90 + [1] * 10)
    assert any("imbalanced: 'c0' has 72 examples (90%)" in note for note in target.notes)
