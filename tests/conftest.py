"""What all tests share: a cache of their own, and the browser where there is one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

LONGEST = (
    "test_readme.py",
    "engine/test_processes.py",
    "api/test_resume.py",
    "linking/finding/test_adversarial.py",
    "api/test_memory_kill.py",
    "cli/test_combining.py",
    "choosing/ranking/test_engines.py",
    "api/test_prove.py",
    "api/test_network.py",
    "test_structure.py",
)
"""Files that take longest: begun first, so that at the end no process waits for one of them."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; the rest stay in their order."""
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One cache for the session, so that tests share what is slow to make and leave the user's alone."""
    folder = tmp_path_factory.mktemp("regraft-cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REGRAFT_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of Chromium; the test is skipped where there is none."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    pytest.skip("needs Chromium")


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders with 60 digits: ``one``, ``two`` and ``zero``. Not to be changed."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits(n_class=3)
    root = tmp_path_factory.mktemp("photos")
    for index in range(60):
        folder = root / ("zero", "one", "two")[digits.target[index]]
        folder.mkdir(exist_ok=True)
        pixels = np.rint(digits.images[index] * (255 / 16)).astype(np.uint8)
        Image.fromarray(pixels).resize((32, 32)).save(folder / f"{index:02d}.png")
    return root


@pytest.fixture(scope="session")
def image_run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run on the photos: a probe at 32 pixels. Not to be changed."""
    import regraft as rg

    out = tmp_path_factory.mktemp("runs") / "photos"
    rg.transfer(photos, out=out, source="packaged:efficientnet-lite0", size=32, settings=rg.Settings("cpu"))
    return out


@pytest.fixture(scope="session")
def summaries_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What 40 packages say of themselves, with four outputs, some labels missing."""
    import csv

    from tests.summaries import SUMMARIES

    path = tmp_path_factory.mktemp("tables") / "summaries.csv"
    with open(path, "w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["body", "python", "words", "letters", "length"])
        for row, text in enumerate(SUMMARIES[:40]):
            count = len(text.split())
            words = "few" if count < 5 else "some" if count < 7 else "many"
            python = "says" if "python" in text.lower() else "silent"
            letters = "|".join(letter for letter in "exz" if letter in text) or "e"
            length = "" if row % 8 == 0 else str(len(text))
            table.writerow([text, python if row % 7 else "", words, letters, length])
    return path


@pytest.fixture(scope="session")
def text_run(summaries_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run on the summaries: a probe with four outputs. Not to be changed."""
    import regraft as rg

    outputs = ["python", "words", "letters", "length"]
    kinds = {"length": "regression"}
    target = rg.Target.from_table(summaries_csv, text="body", label=outputs, tasks=kinds)
    out = tmp_path_factory.mktemp("runs") / "summaries"
    rg.transfer(target, out=out, source="packaged:minilm", settings=rg.Settings("cpu"))
    return out
