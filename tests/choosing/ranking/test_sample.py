"""The examples that sources are compared on: nested, readable, and never of the test part."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from regraft.choosing.ranking.sample import draw_sample
from regraft.core.errors import DataError
from regraft.targets import Target
from tests.choosing.ranking.conftest import STEPS


def test_samples_are_nested_and_hold_the_classes_in_proportion(digits: Target) -> None:
    small, large = (draw_sample(digits, digits.tasks[0], count, seed=3) for count in (50, 200))
    assert set(small.indices) < set(large.indices)
    assert np.array_equal(large.indices[large.within(50)], small.indices)
    assert not set(large.indices) & set(digits.test)
    assert np.bincount(small.labels, minlength=10).min() >= 4
    assert len(draw_sample(digits, digits.tasks[0], 10_000, seed=3)) == len(digits.pool)


def test_examples_without_a_label_are_left_out() -> None:
    labels = [None if number % 4 == 0 else float(number) for number in range(40)]
    images = np.random.default_rng(0).integers(0, 255, (40, 8, 8), dtype=np.uint8)
    target = Target.from_arrays(images, {"kind": (np.arange(40) % 2).astype(str), "length": labels})
    spec = next(spec for spec in target.tasks if spec.name == "length")
    assert np.isfinite(draw_sample(target, spec, 40, seed=0).labels).all()
    empty = replace(target, _labels={**target._labels, "length": np.full(40, np.nan, np.float32)})
    with pytest.raises(DataError, match=r"0 examples .* readable label of 'length'"):
        draw_sample(empty, spec, 40, seed=0)


def test_what_cannot_be_read_is_left_out_aloud(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(photos, tmp_path / "photos")
    for path in sorted((tmp_path / "photos" / "one").glob("*.png"))[:5]:
        path.write_bytes(path.read_bytes()[:60])
    target = Target.from_images(tmp_path / "photos")
    sample = draw_sample(target, target.tasks[0], 60, seed=0)
    readable = sample.readable(STEPS)
    assert len(readable) < len(sample)
    assert (
        f"{len(sample) - len(readable)} of {len(sample)} examples cannot be read" in capsys.readouterr().err
    )
    assert len(readable.read_by(STEPS)[1]) == len(readable)


def test_of_a_group_one_example_is_taken_unless_groups_are_few(capsys: pytest.CaptureFixture[str]) -> None:
    images = np.random.default_rng(0).integers(0, 255, (240, 8, 8), dtype=np.uint8)
    labels = (np.arange(240) % 2).astype(str)
    plain = Target.from_arrays(images, labels)
    many, few = (replace(plain, groups=np.arange(240) // size) for size in (3, 40))
    sample = draw_sample(many, many.tasks[0], 500, seed=0)
    assert many.groups is not None
    groups = many.groups[sample.indices]
    assert len(groups) == len(np.unique(groups)) >= 48
    assert len(draw_sample(few, few.tasks[0], 500, seed=0)) == len(few.pool)
    assert "are of 6 groups only" in capsys.readouterr().err


def test_targets_together_and_missing_labels_leave_as_many_as_are_asked_for() -> None:
    images = np.random.default_rng(0).integers(0, 255, (300, 8, 8), dtype=np.uint8)
    cells, signs = (Target.from_arrays(images[part::2], (np.arange(150) % 3).astype(str)) for part in (0, 1))
    both = Target.together({"cells": cells, "signs": signs})
    spec = both.tasks[1]
    small, large = (draw_sample(both, spec, count, seed=0) for count in (40, 80))
    assert (len(small), len(large)) == (40, 80)
    assert set(small.indices) < set(large.indices)
