from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from regraft.core.augmentation import Augmentation
from regraft.core.errors import PlanError, UnreadableError
from regraft.core.files import cache_folder
from regraft.core.inputs import View
from regraft.core.preprocessing import TextPreprocessing
from regraft.targets import Target, prepare
from regraft.targets.text_inputs import bucket_of


@pytest.fixture(scope="module")
def target(summaries: list[tuple[str, str]]) -> Target:
    texts = [text * 4 if index % 7 == 0 else text for index, (text, _) in enumerate(summaries)]
    return Target.from_arrays(texts, [label for _, label in summaries])


def test_texts_are_chunked_bucketed_and_weighted(
    target: Target, text_preprocessing: TextPreprocessing
) -> None:
    inputs = prepare(target, text_preprocessing).inputs
    assert len(inputs) == len(target)
    assert np.array_equal(np.unique(inputs.owners), np.arange(len(target)))
    assert (np.diff(inputs.owners) >= 0).all()
    assert len(inputs.owners) > len(target)
    assert np.allclose(np.bincount(inputs.owners, weights=inputs.weights), 1)
    assert set(inputs.buckets.tolist()) <= {8, 10, 12, 14, 16, 20, 24, 32}
    assert inputs.weights.dtype == np.float32


def test_pieces_hold_the_whole_text(target: Target, text_preprocessing: TextPreprocessing) -> None:
    inputs = prepare(target, text_preprocessing).inputs
    tokenizer = Tokenizer.from_str(text_preprocessing.tokenizer.decode())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    for example in (0, 1, 7):
        pieces = np.flatnonzero(inputs.owners == example)
        ids = []
        for piece in pieces:
            batch = inputs.batch(np.array([piece]))
            row = batch["input_ids"][0][batch["attention_mask"][0] == 1].tolist()
            assert (row[0], row[-1]) == (101, 102)
            ids += row[1:-1]
        assert ids == tokenizer.encode(target.examples.raw(example), add_special_tokens=False).ids


def test_a_piece_does_not_depend_on_its_neighbours(
    target: Target, text_preprocessing: TextPreprocessing
) -> None:
    inputs = prepare(target, text_preprocessing).inputs
    lengths, counts = np.unique(inputs.buckets, return_counts=True)
    length, longest = int(lengths[counts >= 2][0]), int(lengths[-1])
    same = np.flatnonzero(inputs.buckets == length)[:2]
    together, alone = inputs.batch(same), inputs.batch(same[1:])
    for name in ("input_ids", "attention_mask"):
        assert together[name][1].equal(alone[name][0])
        assert together[name].shape == (2, length)
    mixed = np.array([same[0], np.flatnonzero(inputs.buckets == longest)[0]])
    assert longest > length
    assert inputs.batch(mixed)["input_ids"].shape == (2, longest)


def test_texts_are_tokenised_once(
    target: Target, text_preprocessing: TextPreprocessing, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prepare(target, text_preprocessing).inputs
    monkeypatch.setattr("regraft.targets.text_inputs.open_tokenizer", None)
    again = prepare(target, text_preprocessing).inputs
    pieces = np.arange(3)
    assert first.batch(pieces)["input_ids"].equal(again.batch(pieces)["input_ids"])
    assert list(first.keys) == list(again.keys)
    assert not list((cache_folder() / "tokens").glob(".part-*"))


def test_very_long_texts_are_read_as_far_as_chunks_reach(text_preprocessing: TextPreprocessing) -> None:
    few = dataclasses.replace(text_preprocessing, max_chunks=2)
    texts = ["word " * 200_000, "short one", *(f"text {index}" for index in range(18))]
    inputs = prepare(Target.from_arrays(texts, ["a", "b"] * 10), few).inputs
    assert (inputs.owners == 0).sum() == 2
    other = dataclasses.replace(text_preprocessing, max_chunks=3)
    assert prepare(Target.from_arrays(texts, ["a", "b"] * 10), other).inputs.keys[0] != inputs.keys[0]


def test_bad_texts_count_as_unreadable(text_preprocessing: TextPreprocessing) -> None:
    texts = [*(f"text {index}" for index in range(18)), "", None]
    target = Target.from_arrays(texts, ["a", "b"] * 10)
    assert [(bad.item, bad.reason) for bad in target.unreadable] == [
        ("text 19", "empty text"),
        ("text 20", "missing text"),
    ]
    with pytest.raises(UnreadableError, match=r"2 of 20 examples \(10.0%\).*text 19: empty text"):
        prepare(target, text_preprocessing)
    assert len(prepare(target, text_preprocessing, max_unreadable=0.1).inputs) == 18


def test_buckets() -> None:
    lengths = np.array([1, 8, 9, 16, 17, 33, 60, 193, 200])
    assert bucket_of(lengths, 200).tolist() == [8, 8, 10, 16, 20, 40, 64, 200, 200]
    assert bucket_of(np.array([3]), 6).tolist() == [6]


def test_transformers_is_not_imported(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys, regraft.targets.decoding, regraft.targets.text_inputs, regraft.targets.image_inputs\n"
        "heavy = {'torch', 'transformers', 'datasets', 'pandas', 'sklearn', 'pyarrow', 'tokenizers'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_a_view_leaves_tokens_out_but_never_special_ones(
    target: Target, text_preprocessing: TextPreprocessing
) -> None:
    inputs = prepare(target, text_preprocessing).inputs
    pieces = np.arange(30)
    plain = inputs.batch(pieces)
    assert inputs.batch(pieces, view=View(0, 1))["input_ids"].equal(plain["input_ids"])
    view = View(0, 1, Augmentation(drop_tokens=0.5))
    thinned, again = inputs.batch(pieces, view=view), inputs.batch(pieces, view=view)
    assert thinned["input_ids"].equal(again["input_ids"])
    assert inputs.batch(pieces[7:8], view=view)["attention_mask"].sum() == thinned["attention_mask"][7].sum()
    left = thinned["attention_mask"].sum() / plain["attention_mask"].sum()
    assert 0.4 < left < 0.8
    for row in range(30):
        before = plain["input_ids"][row][plain["attention_mask"][row] == 1].tolist()
        after = thinned["input_ids"][row][thinned["attention_mask"][row] == 1].tolist()
        assert (after[0], after[-1]) == (101, 102)
        assert len(after) > 2
        rest = iter(before)
        assert all(token in rest for token in after), "what is left keeps its order"
    every = inputs.batch(pieces, view=View(0, 2, Augmentation(drop_tokens=0.9)))["attention_mask"].sum(1)
    assert every.min() == 3


def test_texts_show_no_changes_of_pictures(target: Target, text_preprocessing: TextPreprocessing) -> None:
    inputs = prepare(target, text_preprocessing).inputs
    with pytest.raises(PlanError, match="rotate, hue changes pictures, and the data are texts"):
        inputs.batch(np.arange(2), view=View(0, 1, Augmentation(rotate=10, hue=0.1)))
