"""The activation cache: nothing is computed twice, and nothing damaged is ever used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from regraft.inference import cache as cache_module, cache_contents, clear_cache
from regraft.inference.backends import EagerBackend

SOME = np.arange(40)


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The size of every batch that a network has run on."""
    sizes: list[int] = []
    run = EagerBackend.run

    def counted(self: EagerBackend, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        sizes.append(len(next(iter(batch.values()))))
        return run(self, batch)

    monkeypatch.setattr(EagerBackend, "run", counted)
    return sizes


def shards(folder: Path) -> list[Path]:
    return sorted((folder / "activations").rglob("*.safetensors"))


def test_a_second_run_computes_nothing(image_embedder: tuple, own_cache: Path, batches: list[int]) -> None:  # type: ignore[type-arg]
    _, make = image_embedder
    first = make(keep=True).features(SOME)
    assert batches == [32, 32]
    assert torch.equal(make(keep=True).features(SOME), first)
    assert batches == [32, 32]
    make(keep=True).features(np.arange(50))
    assert batches == [32, 32, 32]
    make(keep=True, cut=3).activations(SOME[:2])
    assert len(batches) == 4, "another cut is another shelf"


def test_equal_bytes_are_computed_once(image_embedder: tuple, batches: list[int]) -> None:  # type: ignore[type-arg]
    _, make = image_embedder
    make().features(np.array([3] * 40))
    assert batches == [32]


@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty"])
def test_a_damaged_shard_is_dropped_and_computed_again(
    image_embedder: tuple,  # type: ignore[type-arg]
    own_cache: Path,
    batches: list[int],
    capsys: pytest.CaptureFixture[str],
    damage: str,
) -> None:
    _, make = image_embedder
    expected = make(keep=True).features(SOME).clone()
    (shard,) = shards(own_cache)
    whole = shard.read_bytes()
    shard.unlink()  # what is mapped stays mapped
    shard.write_bytes({"truncated": whole[: len(whole) // 2], "garbage": b"\xff" * 99, "empty": b""}[damage])
    again = make(keep=True)
    assert (
        f"A damaged file in the cache is dropped and computed again: {shard.name}" in capsys.readouterr().err
    )
    assert torch.equal(again.features(SOME), expected)
    assert shards(own_cache)[0].read_bytes() == whole


def test_a_failed_write_leaves_no_half_shard(
    image_embedder: tuple,  # type: ignore[type-arg]
    own_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, make = image_embedder

    def full_disk(tensors: object, path: Path, **rest: object) -> None:
        path.write_bytes(b"half a shard")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(cache_module, "save_file", full_disk)
        with pytest.raises(OSError, match="No space left"):
            make(keep=True).features(SOME)
    assert [path for path in own_cache.rglob("*") if path.is_file()] == []


def test_the_cache_can_be_seen_and_cleared(image_embedder: tuple, own_cache: Path) -> None:  # type: ignore[type-arg]
    assert cache_contents() == []
    _, make = image_embedder
    make(keep=True).features(SOME)
    (entry,) = cache_contents()
    assert (entry.kind, entry.files) == ("activations", 1)
    assert clear_cache() == entry.size
    assert cache_contents() == []
    assert clear_cache() == 0
