"""otdd: what it takes to move one labelled data set onto another, classes being moved with their examples."""

from __future__ import annotations

from typing import Literal

import numpy as np

from regraft.core.errors import UsageError
from regraft.core.optional import require
from regraft.scores.distances.domains import Domains
from regraft.scores.distances.rbf_mmd import squared_distances

Covariance = Literal["full", "diagonal"]
_ITERATIONS = 10_000_000


def otdd(domains: Domains, *, covariance: Covariance = "full", limit: int = 1000, seed: int = 0) -> float:
    r"""Optimal transport dataset distance (Alvarez-Melis and Fusi 2020).

    .. math:: \left(\min_\pi \sum_{ij} \pi_{ij} \left(\lVert x_i - x'_j \rVert^2
        + W_2^2(\alpha_{y_i}, \alpha_{y'_j})\right)\right)^{1/2}

    with each class taken for a normal distribution :math:`\alpha_y`, between which :math:`W_2^2` is the
    squared distance of the means plus that of Bures between the covariances, and exact transport (POT). In
    units of the features; the classes of both sides need no names in common. Time ``N M (D + N)`` for
    transport and ``C C' D^3`` for full covariances: reduce wide features, or take diagonal ones.

    Parameters
    ----------
    covariance
        ``full`` as in the paper, or ``diagonal``: variances alone.
    limit
        Examples of each side at most; more are drawn by the seed.

    Raises
    ------
    MissingPackageError
        POT is not installed; the message holds the line that installs it.
    UsageError
        Labels of a side are missing.
    """
    if covariance not in ("full", "diagonal"):
        raise UsageError(f"classes have 'full' or 'diagonal' covariances; found {covariance!r}")
    if domains.source_labels is None or domains.target_labels is None:
        raise UsageError(
            "otdd moves classes: it needs labels of both domains, as in Domains.of(source, target, "
            "source_labels=.., target_labels=..)"
        )
    transport = require("ot", "The distance otdd", "regraft[ot]")
    drawn = domains.at_most(limit, seed=seed, purpose="scores: otdd")
    assert drawn.source_labels is not None  # they were there above
    assert drawn.target_labels is not None
    middle = drawn.both.mean(axis=0)
    source, target = drawn.source.values - middle, drawn.target.values - middle
    between = _between_classes(
        _classes(source, drawn.source_labels), _classes(target, drawn.target_labels), covariance
    )
    cost = squared_distances(source, target)
    cost += between[np.ix_(_positions(drawn.source_labels), _positions(drawn.target_labels))]
    return float(np.sqrt(max(0.0, float(transport.emd2([], [], cost, numItermax=_ITERATIONS)))))


def _positions(labels: np.ndarray) -> np.ndarray:
    """Numbers of the classes that are there; a draw may have lost some."""
    return np.unique(labels, return_inverse=True)[1]


def _classes(values: np.ndarray, labels: np.ndarray) -> list[np.ndarray]:
    return [values[labels == label] for label in np.unique(labels)]


def _between_classes(
    sources: list[np.ndarray], targets: list[np.ndarray], covariance: Covariance
) -> np.ndarray:
    """``float64 (C, C')``: squared 2-Wasserstein distances between the classes as normal distributions."""
    means = [np.stack([one.mean(axis=0) for one in side]) for side in (sources, targets)]
    found = squared_distances(*means)
    if covariance == "diagonal":
        spreads = [np.stack([one.std(axis=0) for one in side]) for side in (sources, targets)]
        return found + squared_distances(*spreads)
    ends = [_covariance(one) for one in targets]
    for row, one in enumerate(map(_covariance, sources)):
        root = _root(one)
        for column, other in enumerate(ends):
            crossed = np.linalg.eigvalsh(root @ other @ root)
            overlap = np.sqrt(np.maximum(crossed, 0.0)).sum()
            found[row, column] += max(0.0, float(np.trace(one) + np.trace(other) - 2 * overlap))
    return found


def _covariance(values: np.ndarray) -> np.ndarray:
    centred = values - values.mean(axis=0)
    return np.asarray(centred.T @ centred / len(values))


def _root(matrix: np.ndarray) -> np.ndarray:
    """The symmetric square root of a matrix without negative eigenvalues."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)) @ vectors.T)
