from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from regraft.core.errors import DataError, UsageError
from regraft.core.preprocessing import ImagePreprocessing
from regraft.targets import Target, prepare, reload

Rows = list[tuple[str, str]]


@pytest.fixture(scope="module")
def frame(summaries: Rows) -> pd.DataFrame:
    return pd.DataFrame(summaries, columns=["text", "label"])


def written(frame: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    elif path.suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".jsonl"])
def test_files_hold_what_the_data_frame_holds(frame: pd.DataFrame, tmp_path: Path, suffix: str) -> None:
    whole = Target.from_table(frame)
    target = Target.from_table(written(frame, tmp_path / f"table{suffix}"), label="label", text="text")
    assert target.modality == "text"
    assert target.fingerprint == whole.fingerprint
    assert target.examples.raw(3) == frame.text[3]
    assert target.examples.names[3] == "row 4"
    copy = pickle.loads(pickle.dumps(target))  # noqa: S301  as Ray does, in memory
    assert copy.examples.raw(5) == frame.text[5]
    assert reload(json.loads(json.dumps(target.origin))).fingerprint == target.fingerprint


def test_a_pyarrow_table_and_semicolons(frame: pd.DataFrame, tmp_path: Path) -> None:
    whole = Target.from_table(frame)
    assert Target.from_table(pa.Table.from_pandas(frame)).fingerprint == whole.fingerprint
    frame.to_csv(tmp_path / "semicolons.csv", index=False, sep=";")
    assert Target.from_table(tmp_path / "semicolons.csv").fingerprint == whole.fingerprint


def test_bad_rows_are_named_and_the_others_kept(
    summaries: Rows, tmp_path: Path, csv_bytes: Callable[..., bytes]
) -> None:
    good = csv_bytes([("text", "label"), *summaries])
    bad = b"caf\xe9 au lait,typed\n,typed\n   ,typed\na\0b\0,typed\none,two,three\nthe last one,typed\n"
    (tmp_path / "bad.csv").write_bytes(good + bad)
    target = Target.from_table(tmp_path / "bad.csv")
    count = len(summaries)
    reasons = {bad.item: bad.reason for bad in target.unreadable}
    assert "not valid UTF-8 (byte 0xe9 at position 3)" in reasons[f"row {count + 1}"]
    assert reasons[f"row {count + 2}"] == reasons[f"row {count + 3}"] == "empty text"
    assert reasons[f"row {count + 4}"] == "binary data, not text"
    assert reasons[f"row {count + 5}"] == "3 columns instead of 2"
    assert len(reasons) == 5
    assert target.examples.names[-1] == f"row {count + 6}"
    assert target.examples.raw(len(target) - 1) == "the last one"


def test_bad_lines_of_json(frame: pd.DataFrame, tmp_path: Path) -> None:
    path = written(frame, tmp_path / "table.jsonl")
    extra = [b'{"text": ', b"[1]", b'{"text": "caf\xe9", "label": "typed"}', b'{"label": "typed"}', b""]
    path.write_bytes(path.read_bytes() + b"\n" + b"\n".join(extra))
    target = Target.from_table(path)
    reasons = [bad.reason for bad in target.unreadable]
    assert [reason.split(":")[0] for reason in reasons] == [
        "not valid JSON",
        "not a JSON object",
        "not valid UTF-8",
        "missing text",
    ]
    assert len(target) == len(frame)


def test_numbers_lists_and_several_outputs(frame: pd.DataFrame, tmp_path: Path) -> None:
    frame = frame.assign(
        length=frame.text.str.len() / 10, words=[[*t.split()[:1], "any"] for t in frame.text]
    )
    path = written(frame, tmp_path / "several.jsonl")
    target = Target.from_table(path, label=["label", "length", "words"], text="text", drop_rare=True)
    assert [spec.kind for spec in target.tasks] == ["binary", "regression", "multilabel"]
    assert Target.from_table(frame, label="length").tasks[0].kind == "regression"
    named = Target.from_table(path, label="label", tasks={"label": "multiclass"})
    assert named.tasks[0].kind == "multiclass"


def test_columns_that_are_not_there_name_their_neighbours(frame: pd.DataFrame, tmp_path: Path) -> None:
    path = written(frame.rename(columns={"label": "sort", "text": "words"}), tmp_path / "t.csv")
    with pytest.raises(
        DataError, match=r"there is no label column 'sorts' in .*t.csv; the columns are sort, "
    ):
        Target.from_table(path, label="sorts", text="words")
    with pytest.raises(DataError, match=r"there is no text column 'word'.*columns are words, sort"):
        Target.from_table(path, label="sort", text="word")
    with pytest.raises(DataError, match=r"no column of .* label, target, class or y; .*label=.*words, sort"):
        Target.from_table(path, text="words")
    with pytest.raises(DataError, match="say which holds them with image="):
        Target.from_table(path, label="sort")
    with pytest.raises(UsageError, match="both given"):
        Target.from_table(path, label="sort", text="words", image="words")
    for name in ("group", "split"):
        with pytest.raises(DataError, match=f"there is no {name} column 'x'"):
            Target.from_table(path, label="sort", text="words", **{name: "x"})


def test_tables_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no file"):
        Target.from_table(tmp_path / "nothing.csv")
    (tmp_path / "empty.csv").write_bytes(b"")
    with pytest.raises(DataError, match=r"empty \(0 bytes\)"):
        Target.from_table(tmp_path / "empty.csv")
    for name, data in (
        ("header.csv", b"text,label\n"),
        ("none.jsonl", b"\n\n"),
        ("false.parquet", b"text,label"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=r"no rows|no column of|cannot be read as a \.parquet"):
            Target.from_table(tmp_path / name)
    (tmp_path / "table.xls").write_bytes(b"x")
    with pytest.raises(DataError, match=r"use one of \.csv, \.tsv"):
        Target.from_table(tmp_path / "table.xls")
    with pytest.raises(UsageError, match=r"got int.*from_arrays"):
        Target.from_table(3)


def test_all_texts_bad(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"text,label\n,a\n,b\n")
    with pytest.raises(DataError, match="none of 2 examples can be read; the first one, row 1: empty text"):
        Target.from_table(tmp_path / "t.csv")


def test_paths_are_relative_to_the_table(
    tmp_path: Path, write_digits: Callable[..., Path], digits: tuple[np.ndarray, np.ndarray]
) -> None:
    write_digits(tmp_path / "pictures", 80)
    rows = [(f"pictures/{digits[1][i]}/digit-{i}.png", str(digits[1][i])) for i in range(80)]
    rows += [("pictures/none.png", "1"), ("", "2"), ("https://example.org/x.png", "3")]
    frame = pd.DataFrame(rows, columns=["image", "label"])
    target = Target.from_table(written(frame, tmp_path / "digits.csv"))
    assert len(target) == 80
    assert target.examples.names[0] == rows[0][0]
    assert [bad.reason for bad in target.unreadable] == [
        "there is no such file",
        "no path in this row",
        "a web address, not a file; fetch it first",
    ]
    prepared = prepare(target, ImagePreprocessing(size=(8, 8)))
    assert len(prepared.inputs) == 80


def test_images_kept_in_a_parquet_file(digit_folder: Path, tmp_path: Path) -> None:
    files = sorted(digit_folder.rglob("*.png"))
    images = [{"bytes": path.read_bytes(), "path": None} for path in files]
    table = pa.table({"image": images, "label": [path.parent.name for path in files]})
    pa.parquet.write_table(table, tmp_path / "images.parquet")
    target = Target.from_table(tmp_path / "images.parquet")
    folder = Target.from_images(digit_folder)
    assert set(target.examples.hashes) == set(folder.examples.hashes)
    assert isinstance(target.examples.raw(0), bytes)
    assert len(prepare(target, ImagePreprocessing(size=(8, 8))).inputs) == 200


def test_frames_are_written_beside_the_run(frame: pd.DataFrame, tmp_path: Path, digit_folder: Path) -> None:
    target = Target.from_table(frame.assign(label=pd.Categorical(frame.label)))
    with pytest.raises(DataError, match="lived in memory only"):
        reload(target.origin)
    saved = target.save(tmp_path / "text")
    assert reload(json.loads(json.dumps(saved.origin))).fingerprint == target.fingerprint
    files = sorted(digit_folder.rglob("*.png"))
    pictures = pd.DataFrame(
        {"image": [str(path) for path in files], "y": [path.parent.name for path in files]}
    )
    target = Target.from_table(pictures).with_test(30, salt="s")
    again = reload(json.loads(json.dumps(target.save(tmp_path / "images").origin)))
    assert again.fingerprint == target.fingerprint
    assert len(again.test) == 30


def test_a_table_is_mapped_and_not_loaded(frame: pd.DataFrame, tmp_path: Path) -> None:
    before = pa.total_allocated_bytes()
    stream = io.StringIO()
    pd.concat([frame] * 200).to_csv(stream, index=False)
    (tmp_path / "long.csv").write_text(stream.getvalue())
    target = Target.from_table(tmp_path / "long.csv")
    size = (tmp_path / "long.csv").stat().st_size
    del stream
    assert size > 500_000
    assert pa.total_allocated_bytes() - before < size / 3
    assert len(target) == 200 * len(frame)
