"""Targets put together: whose labels are whose, test parts sealed for all, draws of each by itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from regraft.core.errors import DataError, SealedError, UsageError
from regraft.targets import Target, reload
from regraft.targets.balance import draw_notes
from tests.targets.test_parts_and_draws import target_of


def contents(target: Target, indices: np.ndarray) -> set[str]:
    return {target.examples.hashes[int(index)] for index in indices}


@pytest.fixture(scope="module")
def low(digits: tuple[np.ndarray, np.ndarray]) -> Target:
    """The first 600 digits, which they are."""
    return Target.from_arrays(digits[0][:600], [f"d{digit}" for digit in digits[1][:600]])


@pytest.fixture(scope="module")
def odd(digits: tuple[np.ndarray, np.ndarray]) -> Target:
    """Digits 500 to 1000: odd or even, and how much ink; every fifth without the first label."""
    words = ["odd" if digit % 2 else "even" for digit in digits[1][500:1000]]
    parity = [None if index % 5 == 0 else word for index, word in enumerate(words)]
    ink = digits[0][500:1000].mean((1, 2)).tolist()
    return Target.from_arrays(digits[0][500:1000], {"parity": parity, "ink": ink})


@pytest.fixture(scope="module")
def both(low: Target, odd: Target) -> Target:
    return Target.together(low=low, odd=odd)


def test_outputs_are_all_members_outputs_and_labels_of_the_others_are_missing(
    both: Target, low: Target, odd: Target, digits: tuple[np.ndarray, np.ndarray]
) -> None:
    assert [(spec.name, spec.kind) for spec in both.tasks] == [
        ("low.label", "multiclass"),
        ("odd.parity", "binary"),
        ("odd.ink", "regression"),
    ]
    assert len(both) == 1000
    assert (both.examples.names[0], both.examples.names[999]) == ("low/image 1", "odd/image 500")
    assert np.array_equal(both.examples.raw(999), digits[0][999])  # type: ignore[arg-type]
    labels = both._labels
    assert np.array_equal(labels["low.label"][:600], low._labels["label"])
    assert (labels["low.label"][600:] == -1).all()
    assert np.isnan(labels["odd.ink"][:500]).all()
    assert np.array_equal(labels["odd.ink"][500:], odd._labels["ink"])
    assert (labels["odd.parity"][500:] == odd._labels["parity"]).all()
    assert "100 of them are in more than one, byte for byte, and have the labels of all." in both.notes


def test_test_parts_stay_test_parts_for_all(both: Target, low: Target, odd: Target) -> None:
    tested = contents(both, both.test)
    assert tested == contents(low, low.test) | contents(odd, odd.test)
    assert not tested & contents(both, both.pool)
    moved = len((contents(low, low.pool) & contents(odd, odd.test)) | (contents(odd, odd.pool) & tested))
    assert moved > 0, "or this tests nothing"
    assert any("are in the test part of all" in note for note in both.notes)
    with pytest.raises(SealedError):
        both.labels(both.test)


@pytest.mark.parametrize("wanted", [{"per_class": 5}, {"per_class": 20}, {}])
def test_each_member_draws_what_it_would_draw_alone(
    digits: tuple[np.ndarray, np.ndarray], low: Target, wanted: dict[str, int]
) -> None:
    inks = Target.from_arrays(digits[0][1000:], {"parity": [f"p{d % 2}" for d in digits[1][1000:]]})
    joined = Target.together({"low": low}, inks=inks)
    drawn = joined.draw(3, **wanted)
    for alone in (low, inks):
        own, every = alone.draw(3, **wanted), contents(alone, np.arange(len(alone)))
        assert contents(joined, drawn.train) & every == contents(alone, own.train)
        assert contents(joined, drawn.validation) & every == contents(alone, own.validation)


def test_draws_of_members_that_share_examples_are_apart_and_nested(both: Target) -> None:
    small, large = both.draw(1, per_class=5), both.draw(1, per_class=20)
    assert set(small.train) <= set(large.train) | set(large.validation)
    assert set(small.validation) <= set(large.validation)
    assert not contents(both, large.train) & contents(both, large.validation)
    counts = np.bincount(both.labels(np.union1d(small.train, small.validation))["low.label"] + 1)[1:]
    assert counts.min() >= 5
    sized, larger = both.draw(1, train_size=60), both.draw(1, train_size=200)
    assert len(np.union1d(sized.train, sized.validation)) <= 60
    assert set(sized.validation) <= set(larger.validation)


def test_a_size_is_divided_in_proportion(digits: tuple[np.ndarray, np.ndarray]) -> None:
    large = Target.from_arrays(digits[0][:900], digits[1][:900])
    small = Target.from_arrays(digits[0][900:1200], digits[1][900:1200] % 2)
    joined = Target.together(large=large, small=small)
    drawn = joined.draw(0, train_size=120)
    labels = joined.labels(np.union1d(drawn.train, drawn.validation))
    counts = [int((values >= 0).sum()) for values in labels.values()]
    assert sum(counts) == 120
    assert counts[0] == pytest.approx(90, abs=6)
    with pytest.raises(UsageError, match=r"train_size=1 leaves no example for small; ask for at least 4"):
        joined.draw(0, train_size=1)


def test_a_members_own_validation_part_validates_and_the_others_draw_theirs(tmp_path: Path) -> None:
    rows = ["body,label,split"]
    rows += [f"given {i} words,{'ab'[i % 2]},{'train' if i < 20 else 'val'}" for i in range(30)]
    (tmp_path / "given.csv").write_text("\n".join(rows))
    others = [f"drawn {i} words" for i in range(40)]
    drawn = Target.from_arrays([*others, "given 25 words"], [*["x", "y"] * 20, "x"])
    joined = Target.together(
        given=Target.from_table(tmp_path / "given.csv", split="split", label="label"), drawn=drawn
    )
    found = joined.draw(0)
    labels = joined.labels(found.validation)
    assert (labels["given.label"] >= 0).sum() >= 6
    assert (labels["drawn.label"] >= 0).sum() >= 5
    shared = next(i for i in range(len(joined)) if joined.examples.raw(i) == "given 25 words")
    assert shared not in found.train


def test_groups_that_share_an_example_are_one() -> None:
    one = target_of(list(range(20)), [0, 1] * 10, groups=[i // 2 for i in range(20)])
    other = target_of(list(range(19, 40)), [1, 0] * 10 + [1], groups=[i // 3 for i in range(21)])
    joined = Target.together(one=one, other=other)
    assert joined.groups is not None
    for seed in range(5):
        drawn = joined.draw(seed)
        sides = [joined.groups[side] for side in (drawn.train, drawn.validation, joined.test)]
        assert not any(np.intersect1d(a, b).size for a, b in [sides[:2], sides[1:], sides[::2]])
    assert len({joined.groups[18], joined.groups[19], joined.groups[20], joined.groups[21]}) == 1


def test_another_test_part_is_one_of_each(both: Target) -> None:
    large = both.with_test(0.5, salt="more")
    shares = {
        spec.name: (large._labels[spec.name][large.test] >= 0).sum() / (large._labels[spec.name] >= 0).sum()
        for spec in large.tasks[:2]
    }
    assert all(0.45 < share < 0.65 for share in shares.values()), shares
    assert not contents(large, large.test) & contents(large, large.pool)


def test_a_saved_one_is_found_again(both: Target, tmp_path: Path, digit_folder: Path) -> None:
    kept = both.with_test(0.3).save(tmp_path / "data")
    assert reload(kept.origin).fingerprint == kept.fingerprint
    mixed = Target.together(
        files=str(digit_folder),
        arrays=Target.from_arrays(
            np.eye(8)[None].repeat(4, 0) * 0.5 + np.arange(4)[:, None, None] / 9, list("abab")
        ),
    )
    assert reload(mixed.save(tmp_path / "mixed").origin).fingerprint == mixed.fingerprint


def test_unreadable_examples_are_named_with_their_member(tmp_path: Path, low: Target) -> None:
    for index in range(4):
        folder = tmp_path / "cells" / ("good", "bad")[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{index}.png").write_bytes(b"" if index == 3 else bytes([index]) * 9)
    for word in (b"more", b"most"):
        (tmp_path / "cells" / "bad" / f"{word.decode()}.png").write_bytes(word)
    joined = Target.together(cells=tmp_path / "cells", low=low)
    assert [one.item for one in joined.unreadable] == ["cells/bad/3.png"]
    assert joined.without([(0, "broken")]).unreadable[-1].item.startswith("cells/bad/")


def test_what_cannot_be_put_together_is_refused(
    low: Target, both: Target, digits: tuple[np.ndarray, np.ndarray]
) -> None:
    texts = Target.from_arrays(["one text", "two texts", "three texts", "four texts"], list("abab"))
    with pytest.raises(UsageError, match="two targets are called 'a'; each needs a name of its own"):
        Target.together({"a": low}, a=low)
    with pytest.raises(UsageError, match="a holds images, b holds texts: fit one run for each kind"):
        Target.together(a=low, b=texts)
    with pytest.raises(UsageError, match=r"'a\.b' cannot be the name of a target"):
        Target.together({"a.b": low})
    with pytest.raises(UsageError, match="'a' is put together itself, of low, odd"):
        Target.together(a=both)
    with pytest.raises(UsageError, match=r"no targets were given .*together\(cells="):
        Target.together()
    labels = {"b_c": digits[1][:600]}
    alike = Target.from_arrays(digits[0][:600], labels)
    other = Target.from_arrays(digits[0][:600], {"c": digits[1][:600]})
    with pytest.raises(UsageError, match=r"the outputs 'a\.b_c' and 'a_b\.c' are too much alike"):
        Target.together(a=alike, a_b=other)
    five = Target.from_arrays(
        np.zeros((4, 6, 6, 5), dtype=np.uint8) + np.arange(4, dtype=np.uint8)[:, None, None, None],
        list("abab"),
    )
    with pytest.raises(UsageError, match=r"other numbers of channels \(a 1, b 5\)"):
        Target.together(a=low, b=five)
    sealed = low.select(low.test)
    with pytest.raises(DataError, match="'b' has no labelled example outside its test part"):
        Target.together(a=low, b=sealed)


def test_a_member_with_values_only_has_no_classes_to_draw_from(low: Target) -> None:
    values = Target.from_arrays(np.arange(80, dtype=np.uint8).reshape(20, 2, 2), np.linspace(0, 1, 20))
    joined = Target.together(low=low, price=values)
    with pytest.raises(UsageError, match=r"price: per_class=3 needs classes.*train_size="):
        joined.draw(0, per_class=3)
    assert (~np.isnan(joined.labels(joined.draw(0, train_size=100).train)["price.label"])).sum() >= 2


def test_the_summary_shows_an_examples_own_labels(both: Target) -> None:
    summary = both.summary()
    assert summary["members"] == ["low", "odd"]
    own = next(shown["label"] for shown in summary["preview"] if shown["item"].startswith("low/"))
    assert own.startswith("low.label: d")
    assert not any("missing" in shown["label"] for shown in summary["preview"])


def test_classes_that_a_draw_lacks_are_named(both: Target) -> None:
    assert draw_notes(both, both.draw(0, per_class=5)) == ()
    drawn = both.draw(0, train_size=8)
    (note,) = [one for one in draw_notes(both, drawn) if one.startswith("low.label")]
    present = np.unique(both.labels(drawn.train)["low.label"])
    missing = [f"d{digit}" for digit in range(10) if digit not in present]
    assert f"low.label: {len(missing)} of 10 classes have no training example in this draw" in note
    assert ", ".join(missing[:6]) in note
