from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from regraft.core.errors import DataError
from regraft.core.inputs import View
from regraft.core.preprocessing import ImagePreprocessing
from regraft.targets import Target, pixel_cache, prepare
from regraft.targets.decoding import Geometry, read_pixels
from regraft.targets.digests import Digests
from regraft.targets.pixel_cache import PixelCache

GEOMETRY = Geometry(size=(16, 16))


@pytest.fixture
def target(digit_folder: Path) -> Target:
    return Target.from_images(digit_folder)


class Counting:
    """Data that count how often they are asked for, and may stop giving."""

    def __init__(self, target: Target, stop_after: int = 10**9):
        self.target, self.stop_after, self.asked = target, stop_after, 0

    def __getitem__(self, index: int) -> str:
        self.asked += 1
        if self.asked > self.stop_after:
            raise KeyboardInterrupt
        return str(self.target.examples.raw(index))


@pytest.mark.parametrize("workers", [1, 2])
def test_each_content_is_decoded_once(target: Target, tmp_path: Path, workers: int) -> None:
    digests = target.examples.hashes.array
    data = Counting(target)
    cache = PixelCache(tmp_path, GEOMETRY)
    assert cache.decode(digests, data, workers=workers) == {}
    assert data.asked == len({*target.examples.hashes}) <= 200
    assert PixelCache(tmp_path, GEOMETRY).decode(digests, data, workers=workers) == {}
    assert data.asked <= 200
    pixels = cache.find(digests)
    for index in (0, 17, 199):
        assert np.array_equal(pixels[index], read_pixels(target.examples.raw(index), GEOMETRY))
    other = PixelCache(tmp_path, Geometry(size=(8, 8)))
    assert other.folder != cache.folder


def test_what_was_decoded_before_an_interruption_is_kept(target: Target, tmp_path: Path) -> None:
    digests = target.examples.hashes.array
    cache = PixelCache(tmp_path, GEOMETRY)
    with pytest.raises(KeyboardInterrupt):
        cache.decode(digests, Counting(target, stop_after=100), workers=1)
    rest = Counting(target)
    cache.decode(digests, rest, workers=1)
    assert rest.asked == len({*target.examples.hashes}) - 96
    pixels = cache.find(digests)
    assert len(pixels.shards) == 2
    for index in (0, 199):
        assert np.array_equal(pixels[index], read_pixels(target.examples.raw(index), GEOMETRY))


def test_half_written_shards_are_not_read(target: Target, tmp_path: Path) -> None:
    digests = target.examples.hashes.array
    cache = PixelCache(tmp_path, GEOMETRY)
    cache.decode(digests, Counting(target), workers=1)
    shard = next(cache.folder.glob("shard-*"))
    os.truncate(shard / "pixels.u8", 1000)
    data = Counting(target)
    cache.decode(digests, data, workers=1)
    assert data.asked == len({*target.examples.hashes})


def test_bad_images_do_not_stop_the_others(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixel_cache, "_IN_PROCESS", 64)
    data = [b"no picture", *(target.examples.raw(index) for index in range(1, 70))]
    digests = target.examples.hashes.array[:70]
    assert list(PixelCache(tmp_path, GEOMETRY).decode(digests, data, workers=2)) == [0]


def test_a_full_disk_is_noticed_beforehand(tmp_path: Path) -> None:
    cache = PixelCache(tmp_path, Geometry(size=(200_000, 200_000)))
    digests = np.random.default_rng(0).integers(0, 256, (1000, 32)).astype(np.uint8)
    with pytest.raises(
        DataError, match=r"need 120000.0 GB in .* are free; free some with 'regraft cache --clear'"
    ):
        cache.decode(digests, [], workers=1)


def test_killed_while_decoding(digit_folder: Path, tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from regraft.targets import Target, prepare\n"
        "from regraft.core.preprocessing import ImagePreprocessing\n"
        "from regraft.targets import pixel_cache, decoding\n"
        "real = decoding.decode_into\n"
        "def dying(*a, n=[0]):\n"
        "    n[0] += 1\n"
        "    if n[0] == 3: os.kill(os.getpid(), 9)\n"
        "    return real(*a)\n"
        "pixel_cache.decode_into = dying\n"
        f"prepare(Target.from_images({str(digit_folder)!r}), ImagePreprocessing(size=(16, 16)), workers=1)\n"
    )
    environment = {**os.environ, "REGRAFT_CACHE": str(tmp_path)}
    result = subprocess.run([sys.executable, "-c", code], env=environment, check=False)
    assert result.returncode == -9
    target = Target.from_images(digit_folder)
    cache = PixelCache(tmp_path / "images", GEOMETRY)
    rest = Counting(target)
    cache.decode(target.examples.hashes.array, rest, workers=1)
    assert rest.asked == len({*target.examples.hashes}) - 64


def test_views_are_functions_of_seed_step_and_example(target: Target) -> None:
    inputs = prepare(target, ImagePreprocessing(size=(32, 32))).inputs
    pieces = np.array([3, 4, 5])
    one = inputs.batch(pieces, view=View(0, 7))["pixels"]
    assert one.equal(inputs.batch(pieces, view=View(0, 7))["pixels"])
    assert one[1].equal(inputs.batch(pieces[1:2], view=View(0, 7))["pixels"][0])
    assert not one.equal(inputs.batch(pieces, view=View(0, 8))["pixels"])
    assert not one.equal(inputs.batch(pieces, view=View(1, 7))["pixels"])
    plain = inputs.batch(pieces)["pixels"]
    assert abs(float(one.mean() - plain.mean())) < 0.5


def test_normalisation_is_the_usual_one(target: Target) -> None:
    import torch

    preprocessing = ImagePreprocessing(size=(16, 16), mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    batch = prepare(target, preprocessing).inputs.batch(np.array([9]))["pixels"][0]
    pixels = torch.tensor(read_pixels(target.examples.raw(9), GEOMETRY)).permute(2, 0, 1) / 255
    expected = (pixels - torch.tensor([0.5, 0.4, 0.3])[:, None, None]) / torch.tensor([0.2, 0.3, 0.4])[
        :, None, None
    ]
    assert batch.equal(expected)


def test_a_file_without_permission(
    tmp_path: Path, write_digits: Callable[..., Path], without_privileges: list[str]
) -> None:
    write_digits(tmp_path, 60)
    locked = tmp_path / "3" / "digit-3.png"
    locked.chmod(0)
    code = f"from regraft.targets import Target\nprint(Target.from_images({str(tmp_path)!r}).unreadable)"
    result = subprocess.run(
        [*without_privileges, sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "item='3/digit-3.png', reason='no permission to read this file'" in result.stdout


def test_digests_are_a_list_of_strings(target: Target) -> None:
    hashes = target.examples.hashes
    again = Digests.from_bytes(bytes.fromhex(word) for word in hashes)
    assert list(again[2:5]) == [hashes[2], hashes[3], hashes[4]]
    assert len(set(hashes.ranks().tolist())) == len({*hashes})
