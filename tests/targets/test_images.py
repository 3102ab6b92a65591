from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from regraft.core.errors import DataError, SealedError, UnreadableError, UsageError
from regraft.core.preprocessing import ImagePreprocessing, TextPreprocessing
from regraft.targets import Target, prepare

SMALL = ImagePreprocessing(size=(32, 32))


class Ledger:
    """Counts, as evidence's does."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def record(self, fingerprint: str, purpose: str) -> None:
        self.lines.append((fingerprint, purpose))


def test_class_folders_become_a_target(digit_folder: Path) -> None:
    target = Target.from_images(digit_folder)
    assert len(target) == 200
    assert target.modality == "image"
    assert target.tasks[0].kind == "multiclass"
    assert target.tasks[0].classes == tuple("0123456789")
    assert np.array_equal(np.sort(np.append(target.test, target.pool)), np.arange(200))
    assert 35 <= len(target.test) <= 40
    names = [target.examples.names[index] for index in target.pool]
    shown = target.labels(target.pool)["label"]
    assert [name.split("/")[0] for name in names] == [str(label) for label in shown]
    assert any("multiclass, found from the labels: 10 classes" in note for note in target.notes)


def test_test_labels_are_sealed_and_the_ledger_knows_who_read_them(digit_folder: Path) -> None:
    target = Target.from_images(digit_folder)
    with pytest.raises(SealedError, match=r"labels of 1 test examples were asked for.* only evidence"):
        target.labels([target.pool[0], target.test[0]])
    ledger = Ledger()
    labels = target.open_test(ledger, "final figures")["label"]
    assert len(labels) == len(target.test)
    assert ledger.lines == [(target.fingerprint, "final figures")]


def test_given_splits_are_respected_and_copies_in_the_test_part_set_aside(
    tmp_path: Path, write_digits: Callable[..., Path]
) -> None:
    write_digits(tmp_path / "train", 100)
    write_digits(tmp_path / "val", 40, start=100)
    write_digits(tmp_path / "test", 40, start=140)
    leaked = sorted((tmp_path / "test" / "3").iterdir())[0]
    shutil.copy(leaked, tmp_path / "train" / "3" / "again.png")
    shutil.copy(sorted((tmp_path / "val" / "4").iterdir())[0], tmp_path / "train" / "4" / "again.png")
    target = Target.from_images(tmp_path)
    names = list(target.examples.names)
    assert {names[index].split("/")[0] for index in target.test} == {"test"}
    assert len(target.test) == 40
    assert len(target) == 180
    draw = target.draw(0)
    assert {names[index].split("/")[0] for index in draw.train} == {"train"}
    assert {names[index].split("/")[0] for index in draw.validation} == {"val"}
    assert any(
        "Leak: 1 examples have the same bytes as one of the given test" in note for note in target.notes
    )
    assert any("given validation part" in note for note in target.notes)


def test_wrong_files_are_named_and_litter_is_not(digit_folder: Path, tmp_path: Path) -> None:
    root = shutil.copytree(digit_folder, tmp_path / "digits")
    (root / "3" / "notes.txt").write_text("not a picture")
    (root / "3" / ".DS_Store").write_bytes(b"x")
    (root / "3" / "Thumbs.db").write_bytes(b"x")
    (root / "__MACOSX").mkdir()
    (root / "3" / "empty.png").write_bytes(b"")
    (root / "3" / "dangling.png").symlink_to(root / "nowhere.png")
    target = Target.from_images(root)
    assert {(bad.item, bad.reason) for bad in target.unreadable} == {
        ("3/notes.txt", "a .txt file, not an image"),
        ("3/empty.png", "empty file (0 bytes)"),
        ("3/dangling.png", "there is no such file"),
    }
    assert len(target) == 200


def test_nested_folders_belong_to_their_class_and_links_in_circles_end(
    tmp_path: Path, write_digits: Callable[..., Path]
) -> None:
    write_digits(tmp_path, 60)
    (tmp_path / "3" / "deep").mkdir()
    shutil.move(str(sorted((tmp_path / "3").glob("*.png"))[0]), tmp_path / "3" / "deep")
    (tmp_path / "3" / "circle").symlink_to(tmp_path / "3")
    assert len(Target.from_images(tmp_path)) == 60


def test_a_class_may_be_called_train(tmp_path: Path, digits: tuple[np.ndarray, np.ndarray]) -> None:
    from PIL import Image

    for index in range(12):
        folder = tmp_path / ("train" if index % 2 else "test")
        folder.mkdir(exist_ok=True)
        Image.fromarray(digits[0][index]).save(folder / f"{index}.png")
    assert Target.from_images(tmp_path).tasks[0].classes == ("test", "train")


def test_prepared_inputs_are_aligned_and_normalised(digit_folder: Path) -> None:
    target = Target.from_images(digit_folder)
    prepared = prepare(target, SMALL)
    batch = prepared.inputs.batch(np.array([0, 5, 7]))["pixels"]
    assert batch.shape == (3, 3, 32, 32)
    alone = prepared.inputs.batch(np.array([5]))["pixels"]
    assert batch[1].equal(alone[0])
    assert len(set(prepared.inputs.keys)) == len({*target.examples.hashes})
    assert list(prepared.inputs.names) == list(target.examples.names)


def test_too_many_unreadable_examples_stop_the_run(digit_folder: Path, tmp_path: Path) -> None:
    root = shutil.copytree(digit_folder, tmp_path / "digits")
    for path in sorted((root / "1").iterdir())[:12]:
        path.write_bytes(path.read_bytes()[:60])
    target = Target.from_images(root)
    with pytest.raises(UnreadableError, match=r"12 of 200 examples \(6.0%\).*more than the 5.0%.*digit-"):
        prepare(target, SMALL)
    prepared = prepare(target, SMALL, max_unreadable=0.07)
    assert len(prepared.target) == len(prepared.inputs) == 188
    assert len(prepared.target.unreadable) == 12
    assert set(prepared.target.examples.names) == set(target.examples.names) - {
        bad.item for bad in prepared.target.unreadable
    }


def test_a_source_for_texts_does_not_fit(digit_folder: Path, text_preprocessing: TextPreprocessing) -> None:
    with pytest.raises(UsageError, match=r"reads texts and the target holds images.*--modality image"):
        prepare(Target.from_images(digit_folder), text_preprocessing)


def test_missing_folder_names_its_neighbours(digit_folder: Path) -> None:
    with pytest.raises(DataError, match=rf"there is no folder .*did you mean .*{digit_folder.name}"):
        Target.from_images(digit_folder.with_name(digit_folder.name + "x"))


def test_folders_that_cannot_be_learned_from_say_what_was_found(
    tmp_path: Path, write_digits: Callable[..., Path]
) -> None:
    with pytest.raises(DataError, match=r"holds no class folders \(nothing in it\)"):
        Target.from_images(tmp_path)
    write_digits(tmp_path / "one", 4)
    with pytest.raises(DataError, match="is a file, not a folder"):
        Target.from_images(next((tmp_path / "one").rglob("*.png")))
    with pytest.raises(DataError, match="holds 1 images but no class folders"):
        Target.from_images(tmp_path / "one" / "0")
    with pytest.raises(DataError, match=r"4 of 4 classes.*0 \(1\), 1 \(1\).*drop_rare=True"):
        Target.from_images(tmp_path / "one")
    (tmp_path / "hollow" / "cat").mkdir(parents=True)
    with pytest.raises(DataError, match=r"no image in the 1 folders.*cat"):
        Target.from_images(tmp_path / "hollow")


def test_one_class_only(tmp_path: Path, digit_folder: Path) -> None:
    shutil.copytree(digit_folder / "7", tmp_path / "7")
    with pytest.raises(DataError, match="one class only, '7'"):
        Target.from_images(tmp_path)


def test_rare_classes_are_dropped_aloud(tmp_path: Path, digit_folder: Path) -> None:
    for name in "123":
        shutil.copytree(digit_folder / name, tmp_path / name)
    for path in sorted((tmp_path / "3").iterdir())[1:]:
        path.unlink()
    with pytest.raises(DataError, match=r"1 of 3 classes.*3 \(1\)"):
        Target.from_images(tmp_path)
    target = Target.from_images(tmp_path, drop_rare=True)
    assert (target.tasks[0].kind, target.tasks[0].classes) == ("binary", ("1", "2"))
    assert any("dropped 1 classes" in note for note in target.notes)


def test_a_class_that_turns_out_rare_when_decoded(tmp_path: Path, digit_folder: Path) -> None:
    for name in "123":
        shutil.copytree(digit_folder / name, tmp_path / name)
    for path in sorted((tmp_path / "3").iterdir())[1:]:
        path.write_bytes(b"\x89PNG broken")
    strict = Target.from_images(tmp_path)
    with pytest.raises(DataError, match=r"fewer than two readable examples: 3 \(1\)"):
        prepare(strict, SMALL, max_unreadable=0.5)
    prepared = prepare(Target.from_images(tmp_path, drop_rare=True), SMALL, max_unreadable=0.5)
    assert prepared.target.tasks[0].classes == ("1", "2")
    assert len(prepared.target) == len(prepared.inputs)
    assert not any(name.startswith("3/") for name in prepared.inputs.names)
