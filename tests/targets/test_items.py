from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from regraft.core.preprocessing import ImagePreprocessing, TextPreprocessing
from regraft.targets import Target, prepare, read_items

SMALL = ImagePreprocessing(size=(16, 16))


def test_files_folders_and_globs_keep_their_order(digit_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"\x89PNG")
    (tmp_path / "words.txt").write_text("hello")
    one = sorted((digit_folder / "5").iterdir())[0]
    read = read_items(
        [
            tmp_path / "missing.png",
            str(one),
            digit_folder / "1",
            f"{digit_folder}/2/*.png",
            tmp_path,
            "no*.png",
        ],
        SMALL,
    )
    ones, twos = len(list((digit_folder / "1").iterdir())), len(list((digit_folder / "2").iterdir()))
    assert len(read.names) == 2 + ones + twos + 3
    assert read.names[1] == str(one)
    assert read.errors[0] == "there is no such file"
    assert "not an image" in read.errors[2 + ones + twos]
    assert "not an image" in read.errors[3 + ones + twos]
    assert read.errors[4 + ones + twos] == "no file matches this pattern"
    assert len(read.inputs) == len(read.readable) == 1 + ones + twos
    assert [read.names[index] for index in read.readable] == list(read.inputs.names)


def test_items_are_read_as_the_target_was(digit_folder: Path) -> None:
    target = Target.from_images(digit_folder)
    inputs = prepare(target, SMALL).inputs
    read = read_items([str(digit_folder / target.examples.names[index]) for index in (3, 4, 3)], SMALL)
    expected = inputs.batch(np.array([3, 4, 3]))["pixels"]
    assert read.inputs.batch(np.arange(3))["pixels"].equal(expected)
    assert read.inputs.keys[0] == inputs.keys[3]


def test_arrays_pictures_and_bytes(digits: tuple[np.ndarray, np.ndarray], digit_folder: Path) -> None:
    path = sorted((digit_folder / "5").iterdir())[0]
    with Image.open(path) as picture:
        picture.load()
    expected = read_items(path, SMALL).inputs.batch(np.array([0]))["pixels"]
    array = np.asarray(picture)
    for item in (array, array / 255.0, np.repeat(array[..., None], 3, axis=2), picture, path.read_bytes()):
        assert read_items([item], SMALL).inputs.batch(np.array([0]))["pixels"].equal(expected)
    batch = read_items(digits[0][:5], SMALL)
    assert batch.names == [f"array {index}" for index in range(1, 6)]
    assert read_items(picture, SMALL).names == ["image"] or read_items(picture, SMALL).names[0].endswith(
        ".png"
    )
    assert "is not an image" in read_items([3], SMALL).errors[0]
    dark = np.full((4, 4), 4.0)
    assert (read_items([dark], SMALL, whole=16.0).inputs.pixels[0] == 64).all()  # type: ignore[attr-defined]
    assert "from -1 to 0" in read_items([np.array([[-1.0, 0.0]])], SMALL).errors[0]


def test_tables_of_paths(digit_folder: Path) -> None:
    files = sorted(digit_folder.rglob("*.png"))[:3]
    table = digit_folder / "table.csv"
    try:
        rows = [*(str(path.relative_to(digit_folder)) for path in files), "", "none.png"]
        pd.DataFrame({"name": rows, "other": 1}).to_csv(table, index=False)
        read = read_items(table, SMALL, column="name")
    finally:
        table.unlink(missing_ok=True)
    assert len(read.inputs) == 3
    assert read.errors == {3: "no path in this row", 4: "there is no such file"}
    assert read.names[0] == "row 1"


def test_nothing_stays_behind(digit_folder: Path, tmp_path: Path, monkeypatch: object) -> None:
    import tempfile

    before = set(Path(tempfile.gettempdir()).glob("regraft-items-*"))
    read = read_items(digit_folder, SMALL)
    made = set(Path(tempfile.gettempdir()).glob("regraft-items-*")) - before
    assert made
    del read
    gc.collect()
    assert not any(folder.exists() for folder in made)


def test_nothing_readable(text_preprocessing: TextPreprocessing) -> None:
    for preprocessing, items in ((SMALL, ["none.png"]), (text_preprocessing, [""]), (SMALL, [])):
        read = read_items(items, preprocessing)
        assert len(read.inputs) == len(read.readable) == 0
        assert len(read.errors) == len(items)


def test_texts(
    tmp_path: Path, text_preprocessing: TextPreprocessing, csv_bytes: Callable[..., bytes]
) -> None:
    (tmp_path / "a.txt").write_text("a text in a file")
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "t.csv").write_bytes(csv_bytes([("text", "x"), ("in a table", "1"), ("", "2")]))
    items = [
        "hello world",
        "",
        tmp_path / "a.txt",
        str(tmp_path / "bad.txt"),
        tmp_path / "t.csv",
        tmp_path / "no.txt",
    ]
    read = read_items(items, text_preprocessing)
    assert read.names[:3] == ["hello world", "", str(tmp_path / "a.txt")]
    assert [read.names[index] for index in read.readable] == ["hello world", str(tmp_path / "a.txt"), "row 1"]
    assert read.errors == {
        1: "empty text",
        3: "binary data, not text",
        5: "empty text",
        6: "there is no such file",
    }
    one = read_items("hello world", text_preprocessing).inputs.batch(np.array([0]))
    assert one["input_ids"][0, :4].tolist() == [101, 7592, 2088, 102]


def test_texts_are_read_as_the_target_was(
    summaries: list[tuple[str, str]], text_preprocessing: TextPreprocessing
) -> None:
    target = Target.from_arrays([text for text, _ in summaries], [label for _, label in summaries])
    inputs = prepare(target, text_preprocessing).inputs
    read = read_items([target.examples.raw(index) for index in range(5)], text_preprocessing)
    pieces = np.flatnonzero(inputs.owners < 5)
    assert read.inputs.batch(np.arange(len(pieces)))["input_ids"].equal(inputs.batch(pieces)["input_ids"])
    assert list(read.inputs.keys) == list(inputs.keys[:5])


def test_items_that_were_read_leave_nothing_open() -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    steps = ImagePreprocessing(size=(8, 8))
    open_now = Path("/proc/self/fd")
    if not open_now.is_dir():
        pytest.skip("only Linux shows what is open")
    before = len(os.listdir(open_now))
    for _ in range(5):
        assert len(read_items([pixels], steps).inputs) == 1
    gc.collect()
    assert len(os.listdir(open_now)) <= before + 1
