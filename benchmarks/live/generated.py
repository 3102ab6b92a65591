"""Images made by rule, with the label that they were made by."""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIDE = 64
SHAPES = ("circle", "ring", "square", "triangle", "star", "cross", "bars", "half disc")
SCALES = (2.0, 4.0, 8.0, 16.0)  # wave lengths in pixels
DIRECTIONS = ("level", "upright", "every way")

Labelled = tuple[np.ndarray, np.ndarray]
"""``uint8 (N, H, W[, 3])`` and their labels."""


def digits_in_fonts(fonts: Sequence[Path], count: int) -> Labelled:
    """Digits, light on dark, moved, turned, thick and thin, with some noise."""
    return _glyphs(fonts, string.digits, count)


def letters_in_fonts(fonts: Sequence[Path], count: int) -> Labelled:
    """The 26 letters, small and large ones under one label."""
    return _glyphs(fonts, string.ascii_uppercase, count)


def _glyphs(fonts: Sequence[Path], signs: str, count: int) -> Labelled:
    random = np.random.default_rng(0)
    labels = [signs[number % len(signs)] for number in range(count)]
    return np.stack([_glyph(random, fonts, sign) for sign in labels]), np.array(labels)


def _glyph(random: np.random.Generator, fonts: Sequence[Path], sign: str) -> np.ndarray:
    font = ImageFont.truetype(fonts[random.integers(len(fonts))], int(random.integers(34, 54)))
    shown = sign.lower() if random.random() < 0.5 else sign
    picture = Image.new("L", (SIDE, SIDE))
    middle = tuple(SIDE / 2 + random.uniform(-5, 5, 2))
    ImageDraw.Draw(picture).text(middle, shown, fill=255, font=font, anchor="mm")
    turned = picture.rotate(random.uniform(-20, 20), Image.Resampling.BILINEAR)
    noisy = np.asarray(turned) + random.normal(0, 12, (SIDE, SIDE))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def shapes(count: int) -> Labelled:
    """One filled shape in front of a plain ground, in random colours, sizes, places and angles."""
    random = np.random.default_rng(1)
    labels = [SHAPES[number % len(SHAPES)] for number in range(count)]
    return np.stack([_shape(random, kind) for kind in labels]), np.array(labels)


def _shape(random: np.random.Generator, kind: str) -> np.ndarray:
    ground, colour = (tuple(int(x) for x in random.integers(0, 256, 3)) for _ in range(2))
    picture = Image.new("RGB", (SIDE, SIDE), ground)
    draw = ImageDraw.Draw(picture)
    x, y = SIDE / 2 + random.uniform(-10, 10, 2)
    radius, angle = random.uniform(10, 24), random.uniform(0, 2 * math.pi)
    box = (x - radius, y - radius, x + radius, y + radius)
    degrees = math.degrees(angle)
    if kind == "circle":
        draw.ellipse(box, fill=colour)
    elif kind == "ring":
        draw.ellipse(box, outline=colour, width=max(2, int(radius / 4)))
    elif kind == "half disc":
        draw.pieslice(box, degrees, degrees + 180, fill=colour)
    elif kind == "bars":
        for shift in (-0.8, 0.0, 0.8):
            across = (x - shift * radius * math.sin(angle), y + shift * radius * math.cos(angle))
            _line(draw, across, radius, angle, colour)
    elif kind == "cross":
        _line(draw, (x, y), radius, angle, colour)
        _line(draw, (x, y), radius, angle + math.pi / 2, colour)
    else:
        corners = {"triangle": 3, "square": 4, "star": 10}[kind]
        draw.polygon(_polygon(x, y, radius, angle, corners, star=kind == "star"), fill=colour)
    noisy = np.asarray(picture) + random.normal(0, 8, (SIDE, SIDE, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def _line(
    draw: ImageDraw.ImageDraw,
    middle: tuple[float, float],
    radius: float,
    angle: float,
    colour: tuple[int, ...],
) -> None:
    dx, dy = radius * math.cos(angle), radius * math.sin(angle)
    ends = (middle[0] - dx, middle[1] - dy, middle[0] + dx, middle[1] + dy)
    draw.line(ends, fill=colour, width=max(2, int(radius / 4)))


def _polygon(
    x: float, y: float, radius: float, angle: float, corners: int, *, star: bool
) -> list[tuple[float, float]]:
    found = []
    for number in range(corners):
        far = radius * (0.4 if star and number % 2 else 1.0)
        at = angle + 2 * math.pi * number / corners
        found.append((x + far * math.cos(at), y + far * math.sin(at)))
    return found


def textures(count: int) -> Labelled:
    """Noise with one wave length in one direction or in all: 12 classes."""
    random = np.random.default_rng(2)
    kinds = [(scale, way) for scale in SCALES for way in DIRECTIONS]
    chosen = [kinds[number % len(kinds)] for number in range(count)]
    labels = np.array([f"{way}, {scale:g}" for scale, way in chosen])
    return np.stack([_texture(random, scale, way) for scale, way in chosen]), labels


def _texture(random: np.random.Generator, scale: float, way: str) -> np.ndarray:
    """White noise through a filter that lets one band of frequencies pass."""
    fy, fx = np.meshgrid(np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE), indexing="ij")
    frequency = np.hypot(fy, fx)
    band = np.exp(-((np.log(np.maximum(frequency, 1e-6) * scale)) ** 2) / (2 * 0.35**2))
    if way != "every way":
        along = np.abs(fx if way == "upright" else fy) / np.maximum(frequency, 1e-6)
        band = band * (along > 0.9)
    noise = np.fft.ifft2(np.fft.fft2(random.normal(size=(SIDE, SIDE))) * band).real
    grey = noise / max(noise.std(), 1e-9) * random.uniform(25, 50) + random.uniform(90, 160)
    return np.clip(grey, 0, 255).astype(np.uint8)
