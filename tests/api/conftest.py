"""Copies of finished runs that a test may change."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def copied(image_run: Path, photos: Path, tmp_path: Path) -> Callable[[], Path]:
    """A copy of the run on the photos."""
    return lambda: Path(shutil.copytree(image_run, tmp_path / "copy"))


@pytest.fixture
def own_photos(photos: Path, tmp_path: Path) -> Path:
    """A copy of the photos."""
    return Path(shutil.copytree(photos, tmp_path / "photos"))
