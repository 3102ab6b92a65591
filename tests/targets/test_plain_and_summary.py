from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import regraft.targets
from regraft.core.errors import DataError, UsageError
from regraft.targets import Target, load_target, plain_baseline, reload, thumbnail


def accuracy(target: Target, train_size: int | None = None) -> float:
    baseline = plain_baseline(target)
    draw = target.draw(0, train_size=train_size)
    scores = []
    for label, model in baseline.estimators(target.tasks[0]):
        assert label.startswith("C=")
        model.fit(baseline.values[draw.train], target.labels(draw.train)["label"])
        expected = target.labels(draw.validation)["label"]
        scores.append(float((model.predict(baseline.values[draw.validation]) == expected).mean()))
    return max(scores)


def test_digits_by_a_machine_on_pixels(digits: tuple[np.ndarray, np.ndarray], digit_folder: Path) -> None:
    target = Target.from_arrays(*digits)
    baseline = plain_baseline(target)
    assert baseline.name == "SVM on 8x8 grey pixels"
    assert baseline.values.shape == (1797, 64)
    assert accuracy(target, 500) > 0.93
    folder = plain_baseline(Target.from_images(digit_folder))
    assert folder.name == "SVM on 32x32 grey pixels"
    assert folder.values.shape == (200, 1024)


def test_colours_stay(digits: tuple[np.ndarray, np.ndarray]) -> None:
    colour = np.repeat(digits[0][:60, :, :, None], 3, axis=3)
    colour[..., 0] = 0
    assert plain_baseline(Target.from_arrays(colour, digits[1][:60])).values.shape == (60, 192)


def test_other_tasks_have_estimators(
    digits: tuple[np.ndarray, np.ndarray], summaries: list[tuple[str, str]]
) -> None:
    labels = {
        "even": digits[1][:200] % 2,
        "sort": np.stack([digits[1][:200] > 4, digits[1][:200] % 3 == 0], 1) * 1,
    }
    labels["value"] = digits[1][:200] + 0.5
    texts = [f"{summaries[index % len(summaries)][0]} {index}" for index in range(200)]
    for examples in (digits[0][:200], texts):
        target = Target.from_arrays(examples, labels)
        baseline = plain_baseline(target)
        draw = target.draw(0, train_size=100)
        for spec in target.tasks:
            known = target.labels(draw.train)[spec.name]
            for _, model in baseline.estimators(spec)[1:2]:
                predicted = model.fit(baseline.values[draw.train], known).predict(
                    baseline.values[draw.validation]
                )
                assert predicted.shape == target.labels(draw.validation)[spec.name].shape


def test_texts_by_words(summaries: list[tuple[str, str]]) -> None:
    texts = [text for text, _ in summaries]
    target = Target.from_arrays(
        texts, ["library" if "library" in text.lower() else "other" for text in texts]
    )
    assert plain_baseline(target).name == "TF-IDF and a linear model"
    assert accuracy(target) >= 0.5


def test_the_summary_shows_the_pool_only(digit_folder: Path) -> None:
    target = Target.from_images(digit_folder)
    summary = json.loads(json.dumps(target.summary(), allow_nan=False))
    assert sum(summary["counts"]["label"].values()) == len(target.pool) == summary["parts"]["pool"]
    assert summary["parts"]["test"] == len(summary["splits"]["test"]) == len(target.test)
    assert {target.examples.hashes[index][:16] for index in target.test} == set(summary["splits"]["test"])
    assert len(summary["preview"]) == 12
    assert len({shown["label"] for shown in summary["preview"]}) == 10
    pool = {target.examples.names[index] for index in target.pool}
    for shown in summary["preview"]:
        assert shown["item"] in pool
        assert shown["label"] == shown["item"].split("/")[0]
        assert shown["thumbnail"].startswith("data:image/jpeg;base64,")
    assert reload(summary["origin"]).fingerprint == summary["fingerprint"]


def test_summaries_of_values_and_sets(digits: tuple[np.ndarray, np.ndarray]) -> None:
    labels = {
        "value": digits[1][:60] + 0.5,
        "set": [["a"] if index % 2 else ["a", "b"] for index in range(60)],
    }
    summary = Target.from_arrays(digits[0][:60], labels).summary()
    assert summary["counts"]["value"].keys() == {"mean", "std", "min", "max"}
    assert {shown["label"].split("set: ")[1] for shown in summary["preview"]} == {"a", "a | b"}


def test_thumbnails(solar_cells: list[Path], tmp_path: Path, summaries: list[tuple[str, str]]) -> None:
    for index, path in enumerate(solar_cells):
        folder = tmp_path / "ab"[index % 2]
        folder.mkdir(exist_ok=True)
        (folder / path.name).write_bytes(path.read_bytes())
    shown = thumbnail(Target.from_images(tmp_path), 0, size=48)
    assert shown["text"] is None
    uri = shown["thumbnail"]
    assert uri is not None
    with Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))) as image:
        assert image.size == (48, 48)
    texts = Target.from_arrays(
        [text + " word" * 500 for text, _ in summaries], [label for _, label in summaries]
    )
    words = thumbnail(texts, 0)
    assert words["thumbnail"] is None
    assert words["text"] is not None
    assert words["text"].endswith(" ..")
    assert len(words["text"]) <= 280


def test_whatever_names_data_is_loaded(digit_folder: Path, digits: tuple[np.ndarray, np.ndarray]) -> None:
    target = load_target(str(digit_folder), label=None, tasks=None)
    assert load_target(target) is target
    assert len(load_target(digits)) == 1797
    with pytest.raises(UsageError, match=r"label cannot be given for a folder of images"):
        load_target(digit_folder, label="x")
    with pytest.raises(DataError, match="is neither a folder of images nor a table"):
        load_target(next(digit_folder.rglob("*.png")))
    with pytest.raises(DataError, match="there is no folder"):
        load_target("nowhere/at/all")
    with pytest.raises(DataError, match="no longer at"):
        reload({"kind": "images", "path": "/nowhere", "options": {}})


def test_public_names_are_there() -> None:
    for name in regraft.targets.__all__:
        assert getattr(regraft.targets, name).__doc__ or name == "Labels"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        regraft.targets.nothing  # noqa: B018
