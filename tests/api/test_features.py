"""Features of items and of targets: the network's own, in the order given, whole or not there."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import regraft as rg
from regraft.core import tensor_file
from regraft.core.errors import DataError, RegraftError, SourceError, UsageError
from regraft.inference import Embedder
from regraft.sources import find, load_native
from regraft.targets import items as items_module, prepare

LITE, CPU = "packaged:efficientnet-lite0", rg.Settings("cpu", backend="eager")


def files(photos: Path) -> list[str]:
    return sorted(map(str, photos.rglob("*.png")))


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Items come in parts of 32, so that few of them come in several."""

    def bounds(count: int, preprocessing: object) -> list[tuple[int, int]]:
        return [(start, min(start + 32, count)) for start in range(0, count, 32)]

    monkeypatch.setattr(items_module, "bounds", bounds)


def expected(photos: Path, cut: int | None = None) -> torch.Tensor:
    source = find(LITE, size=32)
    prepared = prepare(rg.Target.from_images(photos), source.preprocessing, workers=1)
    trunk = load_native(source)
    embedder = Embedder(trunk, prepared.inputs, cut=cut or len(trunk.blocks), backend="eager", keep=False)
    everyone = np.arange(len(prepared.inputs))
    return embedder.activations(everyone) if cut else embedder.features(everyone)


def test_features_of_items_are_to_the_bit_what_a_fit_would_see(photos: Path, small_parts: None) -> None:
    target = rg.Target.from_images(photos)
    names = [str(photos / name) for name in target.examples.names]
    found = rg.features(names, LITE, size=32, settings=CPU)
    assert found.names == names
    assert torch.equal(torch.from_numpy(found.values), expected(photos))
    of_target = rg.features(target, LITE, size=32, settings=CPU)
    assert of_target.names == list(target.examples.names)
    assert np.array_equal(of_target.values, found.values)


def test_they_are_written_row_by_row_with_their_names(
    photos: Path, small_parts: None, tmp_path: Path
) -> None:
    listed = files(photos)
    (tmp_path / "empty.png").write_bytes(b"")
    some = [*listed[:3], str(tmp_path / "empty.png"), *listed[3:]]
    out = tmp_path / "f.safetensors"
    found = rg.features(some, LITE, size=32, settings=CPU, out=out)
    assert found.values is None
    assert found.shape == (60, 1280)
    tensors = load_file(out)
    assert np.array_equal(tensors["features"], rg.features(listed, LITE, size=32, settings=CPU).values)
    assert set(tensors) == {"features"}, "labels stay where they are"
    with safe_open(out, "pt") as opened:
        about = opened.metadata()
    assert json.loads(about["names"]) == listed
    assert json.loads(about["unreadable"]) == [[str(tmp_path / "empty.png"), "empty file (0 bytes)"]]
    assert (about["source"], about["backend"], about["block"]) == (LITE, "eager", "pool")
    assert threading.active_count() < 20
    assert {thread.name for thread in threading.enumerate()} & {"regraft-ahead"} == set()


def test_many_names_go_into_a_file_beside_it(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import regraft.api.features as module

    monkeypatch.setattr(module, "_LISTED", 100)
    rg.features(files(photos)[:5], LITE, size=32, settings=CPU, out=tmp_path / "f.safetensors")
    with safe_open(tmp_path / "f.safetensors", "pt") as opened:
        assert opened.metadata()["lists"] == "f.json"
    assert json.loads((tmp_path / "f.json").read_text())["names"] == files(photos)[:5]


def test_a_block_and_a_map_are_activations_of_every_piece(photos: Path) -> None:
    target = rg.Target.from_images(photos)
    by_block = rg.features(target, LITE, size=32, settings=CPU, cut="blocks.3")
    assert torch.equal(torch.from_numpy(by_block.values), expected(photos, cut=5))
    by_output = rg.features(target, LITE, size=32, settings=CPU, output="map")
    assert by_output.shape == (60, 1280, 1, 1)
    assert np.allclose(by_output.values[:, :, 0, 0], rg.features(target, LITE, size=32, settings=CPU).values)


def test_tokens_of_texts_keep_their_lengths() -> None:
    texts = [
        "short",
        "a text of some more words than the first one has, and then a few",
        " ".join(["long"] * 600),
    ]
    found = rg.features(texts, "packaged:minilm", settings=CPU, output="tokens")
    lengths, owners = found.beside["lengths"], found.beside["examples"]
    assert len(lengths) == len(owners) > 3, "the long text is several pieces"
    assert owners.tolist() == sorted(owners.tolist())
    assert set(owners.tolist()) == {0, 1, 2}
    assert lengths[0] == 3  # the word between the two special tokens
    assert found.shape == (lengths.sum(), 384)
    alone = rg.features(texts[:1], "packaged:minilm", settings=CPU, output="tokens")
    assert np.array_equal(alone.values, found.values[:3])
    pooled = rg.features(texts, "packaged:minilm", settings=CPU)
    assert pooled.shape == (3, 384)
    assert "lengths" not in pooled.beside


def test_rows_of_several_shapes_are_refused_with_what_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without its count of tokens an activation is one row for each text, as long as the text.
    monkeypatch.setattr("regraft.api.features._token_counts", lambda inputs, values: None)
    texts = ["short", "a text of some more words than the first one has, and then a few"]
    for out in (None, tmp_path / "f.safetensors"):
        with pytest.raises(UsageError) as raised:
            rg.features(texts, "packaged:minilm", settings=CPU, cut="layer.1", out=out)
        assert re.search(
            r"after the block layer\.1 of packaged:minilm the first row is \d+ x 384 and row 1 is \d+ x 384: "
            r"it depends .* Leave out --cut .* another block: --cut embeddings or layer\.0 or layer\.2",
            str(raised.value),
        )
    assert list(tmp_path.iterdir()) == []


def test_a_finished_run_is_a_source_of_features(image_run: Path, photos: Path) -> None:
    found = rg.features(files(photos)[:2], f"bundle:{image_run}", settings=CPU)
    assert found.shape == (2, 1280)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"out": "f.pt"}, UsageError, r"features are safetensors; name it f\.safetensors"),
        (
            {"out": "nowhere/f.safetensors"},
            UsageError,
            "there is no folder nowhere; make it with: mkdir -p nowhere",
        ),
        (
            {"cut": "block.3"},
            UsageError,
            r"no block 'block\.3'\. Did you mean blocks\.3\? The blocks are stem, ",
        ),
        ({"output": "tokens"}, UsageError, "--output tokens: this source gives pooled, map"),
        ({"output": "map", "cut": "stem"}, UsageError, "name two places"),
        ({"source": "packaged:efficientnet-lite"}, SourceError, "there is no"),
        ({"items": []}, UsageError, "there are no items"),
        (
            {"items": ["no.png", "none.png"]},
            DataError,
            r"none of 2 items can be read; the first one, no\.png: there",
        ),
    ],
)
def test_mistakes_are_named_and_nothing_is_written(
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, object],
    error: type[Exception],
    match: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    given: dict[str, object] = {"items": files(photos)[:2], "source": LITE, "out": "f.safetensors", **options}
    items, source = given.pop("items"), given.pop("source")
    with pytest.raises(error, match=match):
        rg.features(items, source, size=32, settings=CPU, **given)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_named(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tensor_file.RowWriter, "add", full)
    with pytest.raises(RegraftError, match="the disk is full; nothing was written there"):
        rg.features(files(photos)[:2], LITE, size=32, settings=CPU, out=tmp_path / "f.safetensors")
    assert list(tmp_path.iterdir()) == []
