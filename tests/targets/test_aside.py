"""Columns that no model reads, found again for the examples of a target."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from regraft.core.errors import DataError, UsageError
from regraft.targets import Target
from regraft.targets.aside import columns_aside


def table(path: Path, rows: int = 40) -> Path:
    with open(path, "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "label", "site", "age"])
        for n in range(rows):
            writer.writerow([f"a text that is number {n}", "ab"[n % 2], f"site {n % 3}", n if n % 5 else ""])
    return path


def test_values_stand_beside_their_rows_whatever_was_left_out(tmp_path: Path) -> None:
    path = table(tmp_path / "texts.csv")
    broken = path.read_text().splitlines()
    broken.insert(4, "one,two,three,four,five,six")
    path.write_text("\n".join(broken))
    target = Target.from_table(path, text="text", label="label")
    target = target.without([(7, "a reason"), (20, "a reason")]).select(np.arange(5, 30))
    found = columns_aside(target, ["site", "age"])
    for at in range(len(target)):
        number = int(target.examples.raw(at).split()[-1])
        assert found["site"][at] == f"site {number % 3}"
        assert found["age"][at] == (str(number) if number % 5 else None)


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_other_files_are_read_too(tmp_path: Path, suffix: str) -> None:
    import pandas as pd

    frame = pd.read_csv(table(tmp_path / "texts.csv"))
    path = tmp_path / f"texts.{suffix}"
    if suffix == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_json(path, orient="records", lines=True)
    found = columns_aside(Target.from_table(path, text="text", label="label"), ["site", "age"])
    assert found["site"] == [f"site {n % 3}" for n in range(40)]
    assert [None if age is None else float(age) for age in found["age"]] == [
        float(n) if n % 5 else None for n in range(40)
    ]


def test_folders_below_the_class_are_a_column(tmp_path: Path, digit_folder: Path) -> None:
    for name in ("0", "1"):
        for number, path in enumerate(sorted((digit_folder / name).iterdir())):
            place = tmp_path / name / f"camera-{number % 2}"
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)
    target = Target.from_images(tmp_path)
    found = columns_aside(target, ["folder"])["folder"]
    assert found == [name.split("/")[1] for name in target.examples.names]
    assert set(found) == {"camera-0", "camera-1"}
    with pytest.raises(UsageError, match="a folder of images has no columns; slices by 'folder'"):
        columns_aside(target, ["camera"])
    with pytest.raises(DataError, match="none in one below it"):
        columns_aside(Target.from_images(digit_folder), ["folder"])


def test_a_table_of_image_paths_has_columns(tmp_path: Path, digit_folder: Path) -> None:
    paths = sorted(digit_folder.glob("[01]/*"))
    rows = [f"{path},{path.parent.name},camera {at % 3}" for at, path in enumerate(paths)]
    twice = [rows[0], rows[1].replace("camera 1", "camera 9")]  # the second says something else
    file = tmp_path / "digits.csv"
    file.write_text("\n".join(["file,label,camera", *rows, *twice]))
    for options in ({"image": "file"}, {}):
        target = Target.from_table(file, label="label", **options)
        part = target.select(np.arange(len(paths))[::-1])
        found = columns_aside(part, ["camera"])["camera"]
        wanted = [f"camera {at % 3}" if at != 1 else None for at in range(len(paths))]
        assert found == wanted[::-1]
    with pytest.raises(DataError, match="there is no slices' column 'cameras'"):
        columns_aside(target, ["cameras"])


def test_of_several_targets_a_column_is_named_with_its_member(tmp_path: Path) -> None:
    one = table(tmp_path / "one.csv")
    two = table(tmp_path / "two.csv", rows=30)
    two.write_text(two.read_text().replace("a text", "another text"))
    both = Target.together(
        one=Target.from_table(one, text="text", label="label"),
        two=Target.from_table(two, text="text", label="label"),
    )
    found = columns_aside(both.select(both.test), ["two.site"])["two.site"]
    for at, index in enumerate(both.test):
        words = both.examples.raw(int(index)).split()
        assert found[at] == (f"site {int(words[-1]) % 3}" if words[0] == "another" else None)
    with pytest.raises(UsageError, match=r"write one\.COLUMN"):
        columns_aside(both, ["site"])


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    target = Target.from_table(table(tmp_path / "texts.csv"), text="text", label="label")
    with pytest.raises(DataError, match=r"there is no slices' column 'sight' .* the columns are site"):
        columns_aside(target, ["sight"])
    with pytest.raises(UsageError, match="arrays have no columns"):
        columns_aside(Target.from_arrays(["a b", "c d", "e f", "g h"], ["x", "y", "x", "y"]), ["site"])
