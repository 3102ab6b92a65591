"""Bins of confidence, and the gap between what is claimed and what comes true in them.

Expected calibration error: Naeini, Cooper, Hauskrecht 2015, "Obtaining well calibrated probabilities using
Bayesian binning", with B bins of n_b of N predictions, mean confidence c_b and share of right ones a_b:
``sum_b n_b / N |c_b - a_b|``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from regraft.core.bootstrap import resample_counts, share_interval
from regraft.core.randomness import numpy_generator

MOST_BINS = 15
_EACH = 10  # predictions that a bin should hold at least
_RESAMPLES, _LEAST = 1000, 200
_DRAWS = 500
_BLOCK = 1 << 22  # numbers in memory at once
_WORK = 2e7  # counts in all, beyond which fewer resamples are drawn
_LEVEL = 0.95


@dataclass(frozen=True, eq=False)
class Bins:
    """Which bin each prediction falls into.

    Attributes
    ----------
    edges
        ``float64 (B + 1,)``, ascending.
    place
        ``int64``, of the confidences' shape: 0 to B - 1.
    """

    edges: np.ndarray
    place: np.ndarray

    @property
    def count(self) -> int:
        """B."""
        return len(self.edges) - 1

    def to_json(self, confidence: np.ndarray, right: np.ndarray) -> list[dict[str, Any]]:
        """A row for each bin that holds something, with Wilson's interval of the share that is right."""
        sizes, claimed, true = _sums(self, confidence, right)
        rows = []
        for number in np.flatnonzero(sizes):
            share = float(true[number] / sizes[number])
            interval = share_interval(share, int(sizes[number]))
            rows.append(
                {
                    "from": float(self.edges[number]),
                    "to": float(self.edges[number + 1]),
                    "count": int(sizes[number]),
                    "confidence": float(claimed[number] / sizes[number]),
                    "right": share,
                    "low": interval.low,
                    "high": interval.high,
                }
            )
        return rows


def bin_count(predictions: int) -> int:
    """15 bins, or fewer where they would hold fewer than 10 predictions on average."""
    return max(1, min(MOST_BINS, predictions // _EACH))


def equal_width(confidence: np.ndarray) -> Bins:
    """Bins of one width from 0 to 1."""
    count = bin_count(confidence.size)
    return _binned(np.linspace(0.0, 1.0, count + 1), confidence)


def equal_mass(confidence: np.ndarray) -> Bins:
    """Bins that hold equally many predictions, as far as equal confidences allow."""
    count = bin_count(confidence.size)
    edges = np.unique(np.quantile(confidence, np.linspace(0.0, 1.0, count + 1)))
    if len(edges) < 2:
        edges = np.array([edges[0], np.nextafter(edges[0], np.inf)])
    return _binned(edges, confidence)


def _binned(edges: np.ndarray, confidence: np.ndarray) -> Bins:
    place = np.searchsorted(edges, confidence, side="right") - 1
    return Bins(edges, np.clip(place, 0, len(edges) - 2))


def _sums(bins: Bins, confidence: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """By bin: predictions, their confidences added up, how many are right."""
    place = bins.place.ravel()
    return (
        np.bincount(place, minlength=bins.count),
        np.bincount(place, confidence.ravel(), minlength=bins.count),
        np.bincount(place, right.ravel(), minlength=bins.count),
    )


def gap(bins: Bins, confidence: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """The expected calibration error, plain and debiased."""
    plain, debiased = _gaps(*(part[None].astype(np.float64) for part in _sums(bins, confidence, right)))
    return float(plain[0]), float(debiased[0])


def _gaps(sizes: np.ndarray, claimed: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Plain and debiased error of R samples from their sums by bin, ``(R, B)`` each.

    Debiased: were a bin's share of right ones the one found, samples of its size would on average show
    ``E|N(d, v)|`` for ``d = |c_b - a_b|``; that excess over d is taken off (after Kumar, Liang, Ma 2019,
    "Verified uncertainty calibration", who do so for the squared error). The variance ``v = q (1 - q) / n_b``
    is that of q, the share found drawn towards the confidence by one prediction, since a bin that is all
    right is no certainty.
    """
    held = np.maximum(sizes, 1)
    c, a = claimed / held, true / held
    q = np.clip((true + c) / (held + 1), 0.0, 1.0)
    distance, spread = np.abs(c - a), np.sqrt(q * (1 - q) / held)
    weight = sizes / sizes.sum(axis=1, keepdims=True)
    plain = (weight * distance).sum(axis=1)
    excess = _folded_mean(distance, spread) - distance
    return plain, np.clip((weight * (distance - excess)).sum(axis=1), 0.0, None)


def _folded_mean(mean: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """``E|X|`` of a normal X (Leone, Nelson, Nottingham 1961)."""
    from scipy.special import ndtr

    safe = np.where(spread > 0, spread, 1.0)
    ratio = mean / safe
    folded = safe * math.sqrt(2 / math.pi) * np.exp(-0.5 * ratio**2) + mean * (1 - 2 * ndtr(-ratio))
    return np.asarray(np.where(spread > 0, folded, mean))


def gap_if_true(bins: Bins, confidence: np.ndarray) -> np.ndarray:
    """The plain error in draws of what comes true if every confidence is: consistency resampling.

    Source: Bröcker and Smith 2007, "Increasing the reliability of reliability diagrams".
    """
    flat, place = confidence.ravel(), bins.place.ravel()
    inside = np.zeros((len(flat), bins.count))
    inside[np.arange(len(flat)), place] = 1.0
    sizes, claimed = inside.sum(0)[None], (inside * flat[:, None]).sum(0)[None]
    random = numpy_generator(0, "as if calibrated", len(flat))
    rows = max(1, _BLOCK // len(flat))
    found = []
    for start in range(0, _DRAWS, rows):
        right = random.random((min(rows, _DRAWS - start), len(flat))) < flat
        found.append(_gaps(sizes, claimed, right.astype(np.float64) @ inside)[0])
    return np.concatenate(found)


def gap_interval(bins: Bins, confidence: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """95% interval of the true calibration error, by a bootstrap over examples, ``(low, high)``.

    A resample is biased as the sample is, once more: percentiles of the plain error never hold an error of
    zero. Hence the debiased error, its percentiles and their reflection (Efron and Tibshirani 1993, basic
    interval), the wider of both at either end. Simulated for 60 to 2,000 examples the better of the two held
    the truth in 88 to 97% of cases, least where the error was 0, which ``calibration`` mends.
    """
    count = len(confidence)
    inside = np.zeros((count, bins.count))
    np.add.at(inside, (np.arange(count)[:, None], bins.place), 1.0)
    claimed, true = np.zeros_like(inside), np.zeros_like(inside)
    np.add.at(claimed, (np.arange(count)[:, None], bins.place), confidence)
    np.add.at(true, (np.arange(count)[:, None], bins.place), right)
    draws_wanted = int(np.clip(_WORK // count, _LEAST, _RESAMPLES))
    blocks = resample_counts(count, draws_wanted, seed=0, purpose="calibration")
    draws = [
        _gaps(*(block.astype(np.float64) @ sums for sums in (inside, claimed, true)))[1] for block in blocks
    ]
    low, high = np.quantile(np.concatenate(draws), [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    middle = gap(bins, confidence, right)[1]
    return max(0.0, float(min(low, 2 * middle - high))), float(max(high, 2 * middle - low))
