from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Value, disable_progress_bars

from regraft.core.errors import DataError, UsageError
from regraft.core.preprocessing import ImagePreprocessing
from regraft.targets import Target, load_target, prepare, reload

disable_progress_bars()
SMALL = ImagePreprocessing(size=(8, 8), crop_fraction=1.0)


def test_scales_are_said_aloud_and_undone(digits: tuple[np.ndarray, np.ndarray]) -> None:
    bytes_ = Target.from_arrays(*digits)
    assert not any("Pixel values" in note for note in bytes_.notes)
    for values, whole in ((digits[0] / 255.0, "0..1"), (digits[0].astype(float), "0..255")):
        target = Target.from_arrays(values, digits[1])
        assert any(f"taken for {whole}" in note for note in target.notes)
        assert target.fingerprint == bytes_.fingerprint
    sixteen = Target.from_arrays(np.rint(digits[0] * (16 / 255)), digits[1])
    assert any("go from 0 to 16 and are taken for 0..16" in note for note in sixteen.notes)
    assert sixteen.fingerprint == bytes_.fingerprint


def test_colours_and_channels_first(digits: tuple[np.ndarray, np.ndarray]) -> None:
    colour = np.repeat(digits[0][:60, :, :, None], 3, axis=3)
    target = Target.from_arrays(np.moveaxis(colour, 3, 1), digits[1][:60])
    assert any("(N, channels, height, width)" in note for note in target.notes)
    assert target.fingerprint == Target.from_arrays(colour, digits[1][:60]).fingerprint
    assert len(prepare(target, SMALL).inputs) == 60


def test_arrays_that_are_no_images(digits: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(UsageError, match=r"shape \(1797, 64\); give \(N, height, width\).*X.reshape"):
        Target.from_arrays(digits[0].reshape(-1, 64), digits[1])
    with pytest.raises(DataError, match=r"there are 1797 examples, but label has 5"):
        Target.from_arrays(digits[0], digits[1][:5])
    with pytest.raises(DataError, match="from -1 to 1; give them within"):
        Target.from_arrays(digits[0] / 127.5 - 1, digits[1])
    with pytest.raises(DataError, match="no labels were given"):
        Target.from_arrays(digits[0], None)
    with pytest.raises(DataError, match=r"not finite numbers.*row 1;"):
        Target.from_arrays(digits[0][:4], np.array([np.nan, 0.5, 1, 2]))


def test_a_matrix_of_labels_is_multilabel(digits: tuple[np.ndarray, np.ndarray]) -> None:
    matrix = np.stack([digits[1] % 2, digits[1] > 4, digits[1] == 3], axis=1).astype(int)
    target = Target.from_arrays(digits[0], matrix)
    assert (target.tasks[0].kind, target.tasks[0].classes) == ("multilabel", ("0", "1", "2"))
    assert np.array_equal(target.labels(target.pool)["label"], matrix[target.pool])
    with pytest.raises(DataError, match="have to be 0 and 1"):
        Target.from_arrays(digits[0], matrix * 2)


@pytest.mark.parametrize("groups", [False, True])
def test_arrays_are_saved_beside_a_run(
    digits: tuple[np.ndarray, np.ndarray], tmp_path: Path, groups: bool
) -> None:
    who = [f"writer {index % 50}" for index in range(1797)] if groups else None
    target = Target.from_arrays(digits[0] / 255.0, digits[1], groups=who)
    again = reload(json.loads(json.dumps(target.save(tmp_path).origin)))
    assert again.fingerprint == target.fingerprint
    texts = [f"{'even' if number % 2 == 0 else 'odd'} {index}" for index, number in enumerate(digits[1])]
    words = Target.from_arrays(texts, digits[1], groups=who)
    assert words.modality == "text"
    assert words.examples.names[0] == "text 1"
    assert reload(json.loads(json.dumps(words.save(tmp_path / "t").origin))).fingerprint == words.fingerprint


def test_data_sets_of_texts(summaries: list[tuple[str, str]], tmp_path: Path) -> None:
    texts, labels = zip(*summaries, strict=True)
    rows = Dataset.from_dict({"text": texts, "label": labels}).class_encode_column("label")
    target = Target.from_dataset(rows)
    assert target.tasks[0].classes == ("typed", "untyped")
    assert target.fingerprint == Target.from_arrays(list(texts), list(labels)).fingerprint
    shuffled = rows.shuffle(seed=1)
    assert Target.from_dataset(shuffled).examples.raw(0) == shuffled[0]["text"]
    saved = target.save(tmp_path)
    assert reload(json.loads(json.dumps(saved.origin))).fingerprint == target.fingerprint
    assert load_target(saved.origin["path"]).fingerprint == target.fingerprint
    assert load_target(rows).fingerprint == target.fingerprint


def test_data_sets_of_images_with_splits(digit_folder: Path, tmp_path: Path) -> None:
    files = sorted(digit_folder.rglob("*.png"))
    features = Features(
        {"picture": Image(), "label": ClassLabel(names=list("0123456789")), "id": Value("int64")}
    )
    order = np.random.default_rng(0).permutation(len(files))
    columns = {
        "picture": [str(files[i]) for i in order],
        "label": [files[i].parent.name for i in order],
        "id": list(range(len(files))),
    }
    rows = Dataset.from_dict(columns, features=features)
    both = DatasetDict(train=rows.select(range(150)), test=rows.select(range(150, 200)))
    both.save_to_disk(str(tmp_path / "saved"))
    target = Target.from_dataset(tmp_path / "saved", image="picture")
    assert (len(target.pool), len(target.test)) == (150, 50)
    assert set(target.examples.hashes) == set(Target.from_images(digit_folder).examples.hashes)
    prepared = prepare(target, SMALL)
    assert len(prepared.inputs) == 200
    assert reload(json.loads(json.dumps(target.origin))).fingerprint == target.fingerprint


def test_what_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a folder that datasets' save_to_disk made"):
        Target.from_dataset(tmp_path)
    with pytest.raises(UsageError, match="takes a Dataset, a DatasetDict or a folder; got list"):
        Target.from_dataset([1, 2])
