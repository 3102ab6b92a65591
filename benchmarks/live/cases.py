"""Seven real targets of images, each with few labels and a large test part.

What a target's pool holds is all that fine-tuning and ranking ever see of it: 20 to 100 labels a class. The
rest, as far as it is there, is the test part, so that accuracies are known to a point or two.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import common
import numpy as np
from common import link_photos
from targets import debian, digits, drawings, mnist

from regraft.targets import Target

BLOCK = 100
"""Photos of solar cells stand in the order of their modules: they are divided in blocks, two thirds of which
are targets and one third is a source's."""
ICONS = ("actions", "apps", "devices", "mimetypes", "status")
SIGNS = {
    "arrows": "shapes/arrows",
    "buttons": "computer/buttons",
    "flags": "signs_and_symbols/flags",
    "led": "signs_and_symbols/led",
    "map symbols": "signs_and_symbols/map_symbols",
    "patterns": "special/patterns",
}
MOST = 200  # pictures of a kind


@dataclass(frozen=True)
class Case:
    """A target.

    Attributes
    ----------
    make
        From a folder to work in, all examples.
    per_class
        Labels of each class outside the test part.
    test
        The share that is the test part.
    """

    make: Callable[[Path], Target]
    per_class: int
    test: float

    def open(self, folder: Path) -> Target:
        """The test part, and as many of the other examples as there are to be labels."""
        folder.mkdir(parents=True, exist_ok=True)
        whole = self.make(folder).with_test(self.test, "live")
        drawn = whole.draw(0, per_class=self.per_class)
        return whole.select(np.unique(np.concatenate([drawn.train, drawn.validation, whole.test])))


def cells(folder: Path) -> Target:
    """Two thirds of the photos of solar cells: sound or defective."""
    return _cells(folder, lambda defect, kind: "defective" if defect >= 0.5 else "sound")


def kinds(folder: Path) -> Target:
    """The same photos: of one crystal or of many."""
    return _cells(folder, lambda defect, kind: kind)


def _cells(folder: Path, label: Callable[[float, str], str]) -> Target:
    photos = folder / "photos"
    if not photos.exists():
        chosen = [(path, label(defect, kind)) for path, defect, kind in divided_cells(source=False)]
        link_photos(photos, chosen)
    return Target.from_images(photos)


def divided_cells(*, source: bool) -> list[tuple[Path, float, str]]:
    """The photos that are a source's, or those that are a target's."""
    found = common.cells()
    return [one for number, one in enumerate(found) if (number // BLOCK % 3 == 0) == source]


def icons(folder: Path) -> Target:
    """Icons of the Oxygen theme, 48 x 48 pixels, by what they stand for."""
    root = debian("oxygen-icon-theme", folder) / "usr/share/icons/oxygen/base/48x48"
    return pictures(folder / "photos", {kind: root / kind for kind in ICONS})


def signs(folder: Path) -> Target:
    """Drawings of the Open Clip Art Library that stand for something: arrows, flags, map symbols and such."""
    root = clipart(folder.parent)
    return pictures(folder / "photos", {kind: root / place for kind, place in SIGNS.items()})


def clipart(folder: Path) -> Path:
    """Where the Open Clip Art Library lies, which the target ``drawings`` reads too."""
    return debian("openclipart-png", folder / "drawings") / "usr/share/openclipart/png"


def pictures(folder: Path, kinds: dict[str, Path], without: Iterable[str] = ()) -> Target:
    """Pictures of each kind, :data:`MOST` at most, no two of the same bytes.

    ``without`` are SHA-256 digests of pictures that must not be among them.
    """
    seen, chosen = set(without), list[tuple[Path, str]]()
    for kind, place in kinds.items():
        if folder.exists():
            break
        files = sorted(path for path in place.rglob("*.png") if not path.is_symlink())
        random.Random(0).shuffle(files)
        fresh = [path for path in files if not (digest(path) in seen or seen.add(digest(path)))]
        chosen += [(path, kind) for path in fresh[:MOST]]
    for number, (path, kind) in enumerate(chosen):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        (folder / kind / f"{number:04d} {path.name}").symlink_to(path)
    return Target.from_images(folder)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


CASES = {
    "digits": Case(digits, 40, 0.5),
    "mnist": Case(mnist, 40, 0.4),
    "cells": Case(cells, 100, 0.5),
    "kinds": Case(kinds, 50, 0.5),
    "drawings": Case(drawings, 60, 0.6),
    "icons": Case(icons, 25, 0.5),
    "signs": Case(signs, 20, 0.6),
}
