"""Embedders over real networks, on images and on texts of several lengths."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from regraft.inference import Embedder
from regraft.sources import find
from regraft.sources.native import load_native
from regraft.targets import Prepared, Target, prepare
from tests.engine.conftest import Bench

Make = Callable[..., Embedder]


def embedder_of(name: str, data: Target, **options: int) -> tuple[Prepared, Make]:
    source = find(name, **options)
    prepared = prepare(data, source.preprocessing, workers=1)
    trunk = load_native(source)

    def make(*, cut: int | None = None, backend: str = "eager", keep: bool = False) -> Embedder:
        blocks = len(trunk.blocks) if cut is None else cut
        return Embedder(trunk, prepared.inputs, cut=blocks, backend=backend, keep=keep)

    return prepared, make


@pytest.fixture(scope="session")
def image_embedder(photos: Path) -> tuple[Prepared, Make]:
    return embedder_of("packaged:efficientnet-lite0", Target.from_images(photos), size=32)


@pytest.fixture(scope="session")
def text_embedder(summaries_csv: Path) -> tuple[Prepared, Make]:
    data = Target.from_table(summaries_csv, text="body", label="words")
    return embedder_of("packaged:minilm", data)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that nothing else has written to."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("REGRAFT_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def bench(photos: Path) -> Bench:
    source = find("packaged:efficientnet-lite0", size=32)
    return Bench(source, prepare(Target.from_images(photos), source.preprocessing, workers=1))
