"""One image and one text target with four outputs each, so that one run of a strategy covers every kind.

``images`` and ``texts`` read them with real networks, for plans; ``tiny_images`` and ``tiny_texts`` with
random ones that are trained in milliseconds, for runs; ``pictures`` and ``phrases`` have one output,
``label``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from regraft.core.task_spec import TaskSpec
from regraft.sources import Source, find
from regraft.targets import Target, prepare
from tests.engine.conftest import Bench
from tests.strategies import tiny
from tests.summaries import SUMMARIES

HOLES = {0: ["top"], 4: [], 6: ["bottom"], 8: ["top", "bottom"], 9: ["top"]}


def two_classes() -> TaskSpec:
    """An output that tells two classes apart, for links that no data are needed for."""
    return TaskSpec("label", "binary", ("no", "yes"))


def pictures_of_digits() -> tuple[np.ndarray, dict[str, Any]]:
    """Digits with labels of every kind: binary, multiclass, multilabel and regression."""
    digits = load_digits(n_class=4)
    X, y = digits.images[:60], digits.target[:60]
    return X, {
        "odd": np.array(["even", "odd"])[y % 2],
        "digit": y.astype(str),
        "holes": [HOLES.get(int(one), ["none"]) for one in y],
        "ink": X.mean((1, 2)) / 16,
    }


@pytest.fixture(scope="session")
def images() -> Bench:
    """Digits at 32 pixels for EfficientNet-Lite0."""
    X, labels = pictures_of_digits()
    source = find("packaged:efficientnet-lite0", size=32)
    return Bench(source, prepare(Target.from_arrays(X, labels), source.preprocessing, workers=1))


def summaries_of_packages() -> tuple[list[str], dict[str, Any]]:
    """What packages say of themselves, with labels of every kind."""
    X = list(SUMMARIES[:40])
    letters = [[letter for letter in "xyz" if letter in one] for one in X]
    return X, {
        "python": ["says" if "python" in one.lower() else "silent" for one in X],
        "words": ["few" if len(one.split()) < 6 else "some" if len(one.split()) < 9 else "many" for one in X],
        "letters": letters,
        "length": [float(len(one)) for one in X],
    }


@pytest.fixture(scope="session")
def texts() -> Bench:
    """Summaries for MiniLM."""
    X, labels = summaries_of_packages()
    source = find("packaged:minilm")
    return Bench(source, prepare(Target.from_arrays(X, labels), source.preprocessing, workers=1))


@pytest.fixture(scope="session")
def tiny_images() -> Bench:
    """Digits with every kind of label for a small convolutional network."""
    X, labels = pictures_of_digits()
    source = tiny.convolutional()
    return Bench(source, prepare(Target.from_arrays(X, labels), source.preprocessing, workers=1))


@pytest.fixture(scope="session")
def tiny_texts(bert: Source) -> Bench:
    """Summaries with every kind of label for a small transformer."""
    X, labels = summaries_of_packages()
    return Bench(bert, prepare(Target.from_arrays(X, labels), bert.preprocessing, workers=1))


@pytest.fixture(scope="session")
def pictures() -> Bench:
    """Digits of four classes for a small convolutional network: one output, ``label``."""
    X, labels = pictures_of_digits()
    source = tiny.convolutional()
    return Bench(source, prepare(Target.from_arrays(X, labels["digit"]), source.preprocessing, workers=1))


@pytest.fixture(scope="session")
def phrases(bert: Source) -> Bench:
    """Summaries of two classes for a small transformer: one output, ``label``."""
    X, labels = summaries_of_packages()
    return Bench(bert, prepare(Target.from_arrays(X, labels["python"]), bert.preprocessing, workers=1))


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return tiny.transformer(tmp_path_factory.mktemp("bert"), summaries_of_packages()[0])
