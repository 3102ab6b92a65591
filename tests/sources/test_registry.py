from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from regraft.core.errors import BundleError, OfflineError, SourceError, UsageError
from regraft.sources import BuilderSpec, Source, build_trunk, catalogue, find
from regraft.sources.offline import is_reachable


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("packaged:eficientnet-lite0", r"Did you mean packaged:efficientnet-lite0"),
        ("minilm", r"Did you mean packaged:minilm"),
        ("zzz:qqq", r"there is no source 'zzz:qqq'\. A name starts with one of packaged:\.\."),
        ("small:video", r"Did you mean small:"),
    ],
)
def test_unknown_names_suggest_near_ones(name: str, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        find(name)


def test_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"not a finished run: it has no model\.json and no model\.saf"):
        find(str(tmp_path))
    with pytest.raises(BundleError, match="there is no such folder"):
        find(f"bundle:{tmp_path / 'nowhere'}")
    (tmp_path / "model.json").write_text("{")
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(BundleError, match=r"model\.json is damaged"):
        find(str(tmp_path))


def test_hub_name_without_network_fails_soon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    # A port on this machine at which nothing listens.
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    start = time.monotonic()
    with pytest.raises(OfflineError, match=r"'someone/some-model' is not in the local Hugging Face cache"):
        find("hf:someone/some-model")
    assert time.monotonic() - start < 5
    with pytest.raises(SourceError, match="is neither a folder nor the name of a model"):
        find("hf:not/a/model/name")


def test_reachability_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_reachable("http://127.0.0.1:9", patience=0.5)
    # An address set aside for documentation: packets vanish there.
    start = time.monotonic()
    assert not is_reachable("http://192.0.2.1", patience=0.5)
    assert time.monotonic() - start < 3


def test_catalogue_says_what_works_now() -> None:
    rows = {entry.name: entry.to_json() for entry in catalogue()}
    assert rows["packaged:efficientnet-lite0"]["works"]
    assert rows["packaged:efficientnet-lite0"]["install"] == ""
    assert rows["packaged:minilm"]["modality"] == "text"
    texts = {entry.name for entry in catalogue("text")}
    assert texts == {"packaged:minilm", "hf:NAME_OR_FOLDER", "file:PATH", "bundle:DIR", "small:text"}
    for entry in catalogue():
        if not entry.works:
            assert entry.to_json()["install"].startswith("pip install '")


def test_catalogue_figures_are_those_of_the_sources() -> None:
    for entry in catalogue():
        if entry.parameters and entry.works:
            source = find(entry.name)
            assert source.weights is not None
            assert (source.parameters, source.modality) == (entry.parameters, entry.modality)
            assert source.weights.size / 1e6 == pytest.approx(entry.size, abs=0.1)


def test_looking_at_sources_imports_no_library() -> None:
    code = (
        "import sys; from regraft.sources import catalogue; catalogue();"
        "print([m for m in ('timm', 'torchvision', 'transformers', 'huggingface_hub') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_unknown_builder(lite0: Source) -> None:
    from dataclasses import replace

    with pytest.raises(SourceError, match="there is no builder 'os'"):
        build_trunk(replace(lite0, builder=BuilderSpec("os", {})))


def test_small_sources(minilm: Source, lite0: Source, exactness) -> None:  # type: ignore[no-untyped-def]
    from regraft.sources import example_batch

    image = find("small:image", like=lite0)
    assert image.weights is None
    assert image.preprocessing.size == (64, 64)  # type: ignore[union-attr]
    assert image.preprocessing.mean == (0.5, 0.5, 0.5)  # type: ignore[union-attr]
    text = find("small:text", like=minilm)
    assert text.preprocessing == minilm.preprocessing
    for source in (image, text):
        torch.manual_seed(0)
        trunk, batch = build_trunk(source), example_batch(source)
        exactness.assert_cuts_are_exact(trunk, batch)
        exactness.assert_owned_once(trunk)
        exactness.assert_copies(trunk, batch)
        exactness.assert_gradients_flow(trunk, batch)
        exactness.assert_meta(source)
    with pytest.raises(UsageError, match="cannot be like packaged:minilm, which reads text"):
        find("small:image", like=minilm)
