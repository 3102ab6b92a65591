"""Small labelled features of several shapes for the tests of scores."""

from __future__ import annotations

import numpy as np

SHAPES = ((60, 7, 3), (30, 50, 4), (24, 24, 2), (41, 3, 5))
"""Examples, features, classes: tall, wide, square, and narrower than there are classes."""


def problem(
    count: int, width: int, classes: int, *, seed: int = 0, signal: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Features that are not centred, with directions of different lengths, and labels of unequal classes."""
    random = np.random.default_rng(seed)
    labels = np.concatenate(
        [np.repeat(np.arange(classes), 2), random.integers(0, classes, count - 2 * classes)]
    )
    labels = random.permutation(np.where(random.random(count) < 0.1, labels, np.sort(labels)))
    labels[: 2 * classes] = np.repeat(np.arange(classes), 2)
    centres = random.normal(size=(classes, width)) * signal
    features = (centres[labels] + random.normal(size=(count, width))) * np.geomspace(1, 0.2, width) + 0.7
    return features, labels


def probabilities(count: int, classes: int, *, seed: int = 0) -> np.ndarray:
    """Of a source's head."""
    powers = np.exp(2 * np.random.default_rng(seed).normal(size=(count, classes)))
    return powers / powers.sum(1, keepdims=True)


def one_hot(labels: np.ndarray) -> np.ndarray:
    return np.eye(labels.max() + 1)[labels]
