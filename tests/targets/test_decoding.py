from __future__ import annotations

import contextlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from regraft.targets.decoding import BadImageError, Geometry, read_pixels

WHOLE = Geometry(size=(8, 8), crop_fraction=1.0, interpolation="nearest")


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.fixture(scope="module")
def photo(solar_cells: list[Path]) -> Image.Image:
    with Image.open(solar_cells[0]) as image:
        return image.convert("L").resize((8, 8))


def test_transparency_goes_onto_white(photo: Image.Image) -> None:
    clear = photo.convert("RGBA")
    clear.putalpha(0)
    half = photo.convert("LA")
    half.putalpha(128)
    palette = photo.convert("P")
    palette.info["transparency"] = palette.getpixel((0, 0))
    assert (read_pixels(saved(clear, "PNG"), WHOLE) == 255).all()
    expected = np.asarray(photo, dtype=float) * (128 / 255) + 255 * (127 / 255)
    assert np.abs(read_pixels(saved(half, "PNG"), WHOLE)[..., 0] - expected).max() <= 1
    pixels = read_pixels(saved(palette, "PNG", transparency=palette.getpixel((0, 0))), WHOLE)
    assert (pixels[0, 0] == 255).all()
    assert np.abs(pixels[4, 4].astype(int) - photo.getpixel((4, 4))).max() <= 3


def test_grey_and_rgb_with_one_transparent_colour(photo: Image.Image) -> None:
    value = photo.getpixel((2, 3))
    pixels = read_pixels(saved(photo, "PNG", transparency=value), WHOLE)
    assert (pixels[3, 2] == 255).all()


def test_orientation_is_applied(photo: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = read_pixels(saved(photo.convert("RGB"), "PNG", exif=exif), WHOLE)
    assert np.array_equal(turned, np.asarray(photo.convert("RGB").rotate(-90)))


def test_unreadable_orientation_leaves_the_picture(photo: Image.Image) -> None:
    data = saved(photo.convert("RGB"), "JPEG", exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\xff\xff")
    assert read_pixels(data, WHOLE).shape == (8, 8, 3)


def test_sixteen_bits_are_scaled(photo: Image.Image) -> None:
    wide = Image.fromarray(np.asarray(photo).astype(np.uint16) * 257)
    for kind in ("PNG", "TIFF"):
        assert np.array_equal(read_pixels(saved(wide, kind), WHOLE)[..., 0], np.asarray(photo))
    whole = Image.fromarray(np.asarray(photo).astype(np.int32) * 257)
    assert np.array_equal(read_pixels(saved(whole, "TIFF"), WHOLE)[..., 0], np.asarray(photo))


def test_floats_are_scaled_or_refused(photo: Image.Image) -> None:
    values = np.asarray(photo).astype(np.float32)
    for scaled in (values, values / 255):
        assert np.array_equal(read_pixels(saved(Image.fromarray(scaled), "TIFF"), WHOLE)[..., 0], values)
    with pytest.raises(BadImageError, match=r"floating-point values from -.* not within 0..1 or 0..255"):
        read_pixels(saved(Image.fromarray(values - 200), "TIFF"), WHOLE)
    with pytest.raises(BadImageError, match="32-bit values"):
        read_pixels(saved(Image.fromarray(values.astype(np.int32) * 70000), "TIFF"), WHOLE)


def test_print_colours_and_animation(photo: Image.Image) -> None:
    printed = read_pixels(saved(photo.convert("CMYK"), "JPEG", quality=95), WHOLE)
    assert np.abs(printed[..., 0].astype(int) - np.asarray(photo)).mean() < 6
    black = Image.new("L", (8, 8))
    for kind, options in (("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {})):
        data = saved(photo, kind, save_all=True, append_images=[black], **options)
        assert np.abs(read_pixels(data, WHOLE)[..., 0].astype(int) - np.asarray(photo)).max() <= 1
    assert set(np.unique(read_pixels(saved(photo.convert("1"), "PNG"), WHOLE))) <= {0, 255}


def bomb(width: int, height: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000))


@pytest.mark.parametrize(("width", "height"), [(11_000, 10_000), (50_000, 50_000)])
def test_bombs_are_refused_from_the_header(width: int, height: int) -> None:
    with pytest.raises(BadImageError, match="decompression bomb"):
        read_pixels(bomb(width, height), WHOLE)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"])
def test_truncated_files_are_refused(kind: str, solar_cells: list[Path]) -> None:
    with Image.open(solar_cells[0]) as image:
        data = saved(image.convert("RGB"), kind)
    with pytest.raises(BadImageError, match=r"truncated|corrupt|damaged|not an image"):
        read_pixels(data[: len(data) // 2], WHOLE)


def test_other_things_are_named(tmp_path: Path) -> None:
    for data, reason in (
        (b"", r"empty file \(0 bytes\)"),
        (b"%PDF-1.4", "a PDF"),
        (b"hello", "not an image"),
    ):
        with pytest.raises(BadImageError, match=reason):
            read_pixels(data, WHOLE)
        (tmp_path / "thing.png").write_bytes(data)
        with pytest.raises(BadImageError, match=reason):
            read_pixels(str(tmp_path / "thing.png"), WHOLE)
    with pytest.raises(BadImageError, match="there is no such file"):
        read_pixels(str(tmp_path / "nothing.png"), WHOLE)
    with pytest.raises(BadImageError, match="this is a folder"):
        read_pixels(str(tmp_path), WHOLE)


def test_random_damage_never_escapes(solar_cells: list[Path]) -> None:
    generator = np.random.default_rng(0)
    with Image.open(solar_cells[0]) as image:
        small = image.convert("RGB").resize((40, 40))
    for kind in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"):
        data = np.frombuffer(saved(small, kind), dtype=np.uint8)
        for _ in range(60):
            damaged = data.copy()
            places = generator.integers(0, min(len(data), 400), 6)
            damaged[places] = generator.integers(0, 256, 6)
            with contextlib.suppress(BadImageError):
                assert read_pixels(damaged.tobytes(), WHOLE).shape == (8, 8, 3)


def test_geometry_is_that_of_resize_and_centre_crop(solar_cells: list[Path]) -> None:
    with Image.open(solar_cells[1]) as image:
        wide = image.convert("RGB").resize((400, 300))
    expected = wide.resize((341, 256), Image.Resampling.BICUBIC).crop((58, 16, 282, 240))
    assert np.array_equal(read_pixels(np.asarray(wide), Geometry(size=(224, 224))), np.asarray(expected))
    squeezed = Geometry(size=(32, 48), keep_aspect=False, interpolation="bilinear")
    assert read_pixels(np.asarray(wide), squeezed).shape == (32, 48, 3)
    assert read_pixels(np.asarray(wide), Geometry(size=(32, 64))).shape == (32, 64, 3)


@pytest.mark.parametrize("shape", [(1, 60_000), (60_000, 1), (3, 1)])
def test_strips_stay_small(shape: tuple[int, int]) -> None:
    strip = np.full(shape, 77, dtype=np.uint8)
    assert (read_pixels(strip, Geometry(size=(64, 64))) == 77).all()


def test_reduced_decoding_is_close_to_whole_decoding(solar_cells: list[Path]) -> None:
    with Image.open(solar_cells[2]) as image:
        large = image.convert("RGB").resize((1200, 1200), Image.Resampling.BICUBIC)
    geometry = Geometry(size=(64, 64))
    reduced = read_pixels(saved(large, "JPEG", quality=95), geometry)
    assert np.abs(reduced.astype(int) - read_pixels(np.asarray(large), geometry)).mean() < 2
