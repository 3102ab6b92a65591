"""The activation cache: nothing is computed twice, and nothing damaged is ever used."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from regraft.core.errors import UsageError
from regraft.core.holding import Hold
from regraft.inference import cache_contents, clear_cache
from regraft.inference.backends import EagerBackend
from regraft.inference.cache import default_limit, evict, parse_size
from tests.inference.small import Pictures, small_embedder, small_trunk

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


def test_a_shelf_removed_in_the_middle_is_computed_again(
    image_embedder: tuple,  # type: ignore[type-arg]
    own_cache: Path,
) -> None:
    _, make = image_embedder
    embedder = make(keep=True)
    expected = embedder.features(SOME)
    for shard in shards(own_cache):
        shard.unlink()
    assert torch.equal(embedder.features(SOME), expected)
    assert len(shards(own_cache)) == 1


def entry(root: Path, kind: str, name: str, size: int, used: float) -> Path:
    """Something that is kept, used so many seconds ago."""
    folder = root / kind / name
    folder.mkdir(parents=True)
    (folder / "data").write_bytes(bytes(size))
    mark = folder.parent / f".{name}.use"
    mark.touch()
    os.utime(mark, (time.time() - used,) * 2)
    return folder


def test_the_least_recently_used_goes_first_whatever_its_kind(own_cache: Path) -> None:
    old = entry(own_cache, "images", "old", 400, used=300)
    middle = entry(own_cache, "activations", "middle", 400, used=200)
    new = entry(own_cache, "tokens", "new", 400, used=100)
    assert [one.name for one in cache_contents()] == ["old", "middle", "new"]
    assert evict(1200) == 1200
    assert evict(1100) == 800
    assert (old.exists(), middle.exists(), new.exists()) == (False, True, True)
    Hold(middle).touch()  # used now, and let go again
    assert evict(500) == 400
    assert (middle.exists(), new.exists()) == (True, False)


def test_what_is_in_use_stays_also_in_another_process(
    own_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = entry(own_cache, "images", "here", 400, used=300)
    there = entry(own_cache, "images", "there", 400, used=200)
    free = entry(own_cache, "images", "free", 400, used=100)
    code = f"from regraft.core.holding import *; hold(Path({str(there)!r})); print(1, flush=True); input()"
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout is not None
    other.stdout.readline()
    held = Hold(here)
    assert evict(0) == 800
    assert (here.exists(), there.exists(), free.exists()) == (True, True, False)
    assert clear_cache() == 0
    assert "2 entries are in use and stay: images/" in capsys.readouterr().err
    other.kill()
    other.communicate()
    held.release()
    assert evict(0) == 0
    assert not (own_cache / "images" / "here").exists()


def test_a_run_stays_within_the_limit_and_goes_on_without(
    own_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = entry(own_cache, "activations", "old", 100_000, used=300)
    trunk, pictures = small_trunk(), Pictures(64)
    size = 64 * 4 * 8 * 8 * 4
    expected = small_embedder(trunk, pictures, keep=False).activations(np.arange(64))
    assert torch.equal(
        small_embedder(trunk, pictures, limit=size + 50_000).activations(np.arange(64)), expected
    )
    assert not old.exists()
    assert "activations/old" in capsys.readouterr().err
    assert sum(one.size for one in cache_contents()) >= size
    clear_cache()
    tight = small_embedder(trunk, pictures, limit=1000)
    assert torch.equal(tight.activations(np.arange(64)), expected)
    assert "takes no more (its limit of 0.0 GB is reached)" in capsys.readouterr().err
    assert shards(own_cache) == []


def test_where_nothing_can_be_kept_everything_is_run_when_needed(own_cache: Path) -> None:
    trunk, pictures = small_trunk(), Pictures(70)
    expected = small_embedder(trunk, pictures, keep=False).activations(np.arange(70))
    embedder = small_embedder(trunk, pictures, limit=0)
    embedder.shelf._memory = 100
    found = embedder.activations(np.array([69, 3, 3]))
    assert embedder.shelf.full
    assert torch.equal(found, expected[[69, 3, 3]])
    embedder.compute(np.arange(70))
    assert torch.equal(embedder.activations(np.arange(70)), expected)


@pytest.mark.parametrize(
    ("text", "size"),
    [("20GB", 20 * 10**9), ("1.5 TB", 15 * 10**11), ("10mib", 10 << 20), ("7", 7), ("0", 0), ("3kb", 3000)],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1", "20 gigabytes", "1e9"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no size; write 20GB"):
        parse_size(text)


def test_the_limit_comes_from_the_environment_or_the_disk(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGRAFT_CACHE_LIMIT", "3GB")
    assert default_limit() == 3 * 10**9
    monkeypatch.delenv("REGRAFT_CACHE_LIMIT")
    free = shutil.disk_usage(own_cache.parent).free
    assert default_limit() == pytest.approx(min(0.2 * free, 50e9), rel=0.2)


def test_the_cache_can_be_seen_and_cleared(own_cache: Path) -> None:
    assert cache_contents() == []
    embedder = small_embedder(small_trunk(), Pictures(8), title="a small one")
    embedder.compute(np.arange(8))
    entry(own_cache, "images", "some", 10, used=9)
    images, activations = cache_contents()
    assert (activations.kind, activations.files) == ("activations", 2)
    assert activations.about.startswith("a small one to middle, float32, eager")
    with pytest.raises(UsageError, match="keeps no 'sounds'; it keeps: activations, images"):
        clear_cache("sounds")
    assert clear_cache("images") == images.size
    embedder.shelf.close()
    assert clear_cache() == activations.size
    assert cache_contents() == []
    assert clear_cache() == 0
    assert list(own_cache.iterdir()) == []
