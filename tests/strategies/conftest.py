"""One image and one text target with four outputs each, so that one run of a strategy covers every kind."""

from __future__ import annotations

import importlib.metadata

import numpy as np
import pytest
from sklearn.datasets import load_digits

from regraft.sources import find
from regraft.targets import Target, prepare
from tests.engine.conftest import Bench

HOLES = {0: ["top"], 4: [], 6: ["bottom"], 8: ["top", "bottom"], 9: ["top"]}


@pytest.fixture(scope="session")
def images() -> Bench:
    """Digits at 32 pixels: binary, multiclass, multilabel and regression."""
    digits = load_digits(n_class=4)
    X, y = digits.images[:60], digits.target[:60]
    labels = {
        "odd": np.array(["even", "odd"])[y % 2],
        "digit": y.astype(str),
        "holes": [HOLES.get(int(one), ["none"]) for one in y],
        "ink": X.mean((1, 2)) / 16,
    }
    source = find("packaged:efficientnet-lite0", size=32)
    return Bench(source, prepare(Target.from_arrays(X, labels), source.preprocessing, workers=1))


@pytest.fixture(scope="session")
def texts() -> Bench:
    """What packages say of themselves: binary, multiclass, multilabel and regression."""
    summaries = {str(package.metadata["Summary"]) for package in importlib.metadata.distributions()}
    X = sorted(one for one in summaries if 3 < len(one.split()) < 9)[:40]
    letters = [[letter for letter in "xyz" if letter in one] for one in X]
    labels = {
        "python": ["says" if "python" in one.lower() else "silent" for one in X],
        "words": ["few" if len(one.split()) < 6 else "some" if len(one.split()) < 9 else "many" for one in X],
        "letters": letters,
        "length": [float(len(one)) for one in X],
    }
    source = find("packaged:minilm")
    return Bench(source, prepare(Target.from_arrays(X, labels), source.preprocessing, workers=1))
