"""Images of any number of channels: from arrays as they are, from files grey, RGB or with alpha."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from regraft.core.errors import UsageError
from regraft.core.inputs import View
from regraft.core.preprocessing import ImagePreprocessing
from regraft.targets import Target, plain_baseline, prepare, read_items, thumbnail
from regraft.targets.augment import random_view
from regraft.targets.channels import OPAQUE
from regraft.targets.decoding import BadImageError, Geometry, read_pixels
from regraft.targets.image_inputs import geometry_of
from regraft.targets.pixel_cache import PixelCache

Digits = tuple[np.ndarray, np.ndarray]


def steps(channels: int, size: int = 8) -> ImagePreprocessing:
    return ImagePreprocessing.for_channels(channels, size=(size, size), crop_fraction=1.0)


def bands(digits: Digits, channels: int, count: int = 40) -> np.ndarray:
    """Digits seen in several bands: each a digit of its own."""
    X, _ = digits
    return np.stack([X[shift : shift + count] for shift in range(channels)], axis=-1)


@pytest.fixture
def clear_photos(solar_cells: list[Path], tmp_path: Path) -> Path:
    """Class folders of RGBA files: photos of solar cells whose left or right half is transparent."""
    for index, path in enumerate(solar_cells):
        side = ("left", "right")[index % 2]
        colours = np.asarray(Image.open(path).convert("RGB").resize((24, 24)))
        alpha = np.full((24, 24, 1), 255, np.uint8)
        alpha[:, slice(0, 12) if side == "left" else slice(12, 24)] = 0
        (tmp_path / side).mkdir(exist_ok=True)
        Image.fromarray(np.dstack([colours, alpha])).save(tmp_path / side / f"{index}.png")
    return tmp_path


@pytest.mark.parametrize("channels", [1, 2, 4, 5, 9])
def test_arrays_keep_every_channel(digits: Digits, channels: int) -> None:
    X = bands(digits, channels)
    target = Target.from_arrays(X, digits[1][:40])
    inputs = prepare(target, steps(channels), workers=1).inputs
    pixels = inputs.batch(np.arange(40))["pixels"]
    assert pixels.shape == (40, channels, 8, 8)
    expected = (torch.from_numpy(X).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
    assert torch.allclose(pixels, expected)
    viewed = inputs.batch(np.arange(4), view=View(0, 1))["pixels"]
    assert viewed.shape == (4, channels, 8, 8)
    assert not torch.equal(viewed, pixels[:4])


def test_every_channel_goes_through_the_same_view_and_size(digits: Digits) -> None:
    grey = np.repeat(np.repeat(digits[0][0], 4, 0), 4, 1)
    many, three = np.dstack([grey] * 5), np.dstack([grey] * 3)
    views = [random_view(one, View(1, 2), "key") for one in (grey[:, :, None], three, many)]
    small = [
        read_pixels(one, Geometry(size=(12, 12), channels=one.shape[2]))
        for one in (grey[..., None], three, many)
    ]
    for one, colours, all_five in (views, small):
        for channel in range(5):
            assert np.array_equal(all_five[:, :, channel], one[:, :, 0])
            assert np.array_equal(all_five[:, :, channel], colours[:, :, channel % 3])


def test_the_cache_tells_channels_apart(tmp_path: Path) -> None:
    folders = {PixelCache(tmp_path, geometry_of(steps(channels))).folder for channels in (1, 3, 4, 5)}
    assert len(folders) == 4


def test_alpha_is_read_where_the_network_wants_it(clear_photos: Path) -> None:
    target = Target.from_images(clear_photos)
    prepared = prepare(target, steps(4, 24), workers=1)
    alpha = prepared.inputs.batch(np.arange(len(target)))["pixels"][:, 3]
    sides = target.tasks[0].classes
    truth = np.array([name.startswith("right") for name in target.examples.names])
    assert sides == ("left", "right")
    assert np.array_equal(alpha[:, 0, -1].numpy() < 0, truth)
    assert OPAQUE not in prepared.target.notes
    onto_white = prepare(target, steps(3, 24), workers=1).inputs.pixels
    assert all((onto_white[index][:, 20] == 255).all() for index in np.flatnonzero(truth))


def test_colours_below_a_transparent_place_are_kept() -> None:
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[..., 0] = 200
    assert (read_pixels(pixels, Geometry(size=(4, 4), channels=4))[..., 0] == 200).all()


def test_pictures_without_alpha_get_an_opaque_one_and_that_is_said(
    digits: Digits, digit_folder: Path
) -> None:
    target = Target.from_images(digit_folder)
    prepared = prepare(target, steps(4), workers=1)
    assert prepared.target.notes.count(OPAQUE) == 1
    assert OPAQUE not in prepare(target, steps(3), workers=1).target.notes
    assert (prepared.inputs.batch(np.arange(3))["pixels"][:, 3] == 1).all()
    arrays = Target.from_arrays(bands(digits, 3), digits[1][:40])
    assert OPAQUE in prepare(arrays, steps(4), workers=1).target.notes


def test_files_are_read_grey_where_one_channel_is_wanted(solar_cells: list[Path], digits: Digits) -> None:
    geometry = Geometry(size=(8, 8), channels=1)
    assert np.array_equal(
        read_pixels(str(solar_cells[0]), geometry)[..., 0],
        read_pixels(str(solar_cells[0]), Geometry(size=(8, 8)))[..., 1],
    )
    deep = Image.fromarray(digits[0][3].astype(np.uint16) * 257)
    same = read_pixels(np.asarray(digits[0][3]), Geometry(size=(8, 8), crop_fraction=1.0, channels=1))
    assert np.array_equal(same[..., 0], digits[0][3])
    found = read_items([deep], steps(1)).inputs.batch(np.arange(1))["pixels"]
    assert torch.allclose(found[0, 0], (torch.from_numpy(digits[0][3]).float() / 255 - 0.5) / 0.5)


def test_grey_arrays_are_repeated_and_colours_averaged(digits: Digits) -> None:
    grey = Target.from_arrays(digits[0][:20], digits[1][:20])
    pixels = prepare(grey, steps(3), workers=1).inputs.pixels[0]
    assert (pixels == pixels[..., :1]).all()
    colours = Target.from_arrays(bands(digits, 3, 20), digits[1][:20])
    assert prepare(colours, steps(1), workers=1).inputs.pixels[0].shape == (8, 8, 1)


def test_channels_that_do_not_go_together_are_named(digits: Digits, digit_folder: Path) -> None:
    target = Target.from_arrays(bands(digits, 5), digits[1][:40])
    with pytest.raises(UsageError, match=r"the images have 5 channels and the network reads 3: .* --network"):
        prepare(target, steps(3))
    with pytest.raises(UsageError, match="the images have 5 channels and the network reads 2"):
        prepare(target, steps(2))
    with pytest.raises(UsageError, match=r"reads images of 6 channels, and image files have 1, 3 or 4"):
        prepare(Target.from_images(digit_folder), steps(6))
    with pytest.raises(BadImageError, match="the image has 2 channels and 3 are wanted"):
        read_pixels(np.zeros((8, 8, 2), np.uint8), Geometry(size=(8, 8)))


def test_channels_in_front_are_found(digits: Digits) -> None:
    front = np.moveaxis(bands(digits, 5), 3, 1)
    target = Target.from_arrays(front, digits[1][:40])
    assert "Images (40, 5, 8, 8) are taken for (N, channels, height, width)." in target.notes
    assert np.array_equal(target.examples.raw(3), bands(digits, 5)[3])
    flat = Target.from_arrays(
        np.zeros((40, 4, 6, 7), np.uint8) + np.arange(40, dtype=np.uint8)[:, None, None, None], digits[1][:40]
    )
    assert flat.examples.raw(0).shape == (6, 7, 4)


def test_items_to_predict_may_have_any_number_of_channels(digits: Digits) -> None:
    X = bands(digits, 5)
    one, batch = read_items(X[0], steps(5)), read_items(X, steps(5))
    assert len(one.inputs) == 1
    assert len(batch.inputs) == 40
    assert torch.equal(one.inputs.batch(np.arange(1))["pixels"], batch.inputs.batch(np.arange(1))["pixels"])
    wrong = read_items([X[0], X[:1, :, :, :2], np.zeros(3)], steps(5))
    assert len(wrong.inputs) == 1
    assert wrong.errors == {
        1: "the image has 2 channels and 5 are wanted",
        2: "an array of the shape (3,) is no image and no images",
    }
    assert "hand over arrays" in read_items([Image.fromarray(digits[0][0])], steps(5)).errors[0]


def test_the_plain_baseline_and_thumbnails_see_them(digits: Digits, clear_photos: Path) -> None:
    for channels in (2, 5):
        target = Target.from_arrays(bands(digits, channels), digits[1][:40])
        baseline = plain_baseline(target)
        assert baseline.name == f"SVM on 8x8 {channels}-channel pixels"
        assert baseline.values.shape == (40, 64 * channels)
        uri = thumbnail(target, 0)["thumbnail"]
        assert uri is not None
        assert uri.startswith("data:image/jpeg;base64,")
    photos = Target.from_images(clear_photos)
    assert plain_baseline(photos).values.shape[0] == len(photos)
    assert thumbnail(photos, 0)["thumbnail"] is not None
