"""The metrics, computed with scikit-learn; resamples of them vectorised, from counts of examples.

A metric is NaN where it is undefined: no example at all, or a class missing from the sample for ROC-AUC.
Balanced accuracy averages over the classes that the sample holds, macro F1 over those that it or the
predictions hold, mean average precision over those with a positive example (scikit-learn's conventions).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from regraft.tasks.task import Metric

_CHUNK = 1 << 22  # numbers in a block of resamples, to bound memory

Values = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _chunks(counts: np.ndarray) -> Iterator[np.ndarray]:
    step = max(1, _CHUNK // max(1, counts.shape[1]))
    for start in range(0, len(counts), step):
        yield counts[start : start + step].astype(np.float64)


def _quotient(numerator: np.ndarray, denominator: np.ndarray, otherwise: float) -> np.ndarray:
    out = np.full(np.broadcast(numerator, denominator).shape, otherwise)
    np.divide(numerator, denominator, out=out, where=denominator > 0)
    return out


def _mean_where(values: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Mean over the last axis of the values that are there; NaN where none is."""
    return _quotient(np.where(there, values, 0.0).sum(-1), there.sum(-1), np.nan)


@dataclass(frozen=True)
class MeanMetric(Metric):
    """A mean of one number per example, or its square root."""

    values: Values = field(kw_only=True)
    root: bool = field(default=False, kw_only=True)

    def compute(self, scores: np.ndarray, labels: np.ndarray) -> float:
        """The mean, NaN for no example."""
        if len(labels) == 0:
            return float("nan")
        mean = float(self.values(scores, labels).mean())
        return mean**0.5 if self.root else mean

    def resampled(self, scores: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """All resamples by one matrix product."""
        values = self.values(scores, labels)
        totals = np.concatenate([block @ values for block in _chunks(counts)])
        means = _quotient(totals, counts.sum(1), np.nan)
        return np.sqrt(means) if self.root else means


def hits(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """1.0 where the most probable class is the label."""
    return np.asarray(scores.argmax(1) == labels, dtype=np.float64)


def exact_hits(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """1.0 where every class of a multi-label example is right at the threshold 0.5."""
    return np.asarray(((scores >= 0.5) == (labels >= 0.5)).all(1), dtype=np.float64)


def squared_errors(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Squared errors in the label's unit."""
    return np.square(scores.astype(np.float64) - labels.astype(np.float64))


def absolute_errors(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Absolute errors in the label's unit."""
    return np.abs(scores.astype(np.float64) - labels.astype(np.float64))


@dataclass(frozen=True)
class BalancedAccuracy(Metric):
    """Recall, averaged over the classes that the sample holds."""

    name: str = "balanced accuracy"

    def compute(self, scores: np.ndarray, labels: np.ndarray) -> float:
        """scikit-learn's recall, macro over the classes in ``labels``."""
        from sklearn.metrics import recall_score

        if len(labels) == 0:
            return float("nan")
        return float(recall_score(labels, scores.argmax(1), labels=np.unique(labels), average="macro"))

    def resampled(self, scores: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """From the resamples' class counts."""
        classes = np.eye(scores.shape[1])[labels]
        right = classes * hits(scores, labels)[:, None]
        return np.concatenate([self._block(block @ classes, block @ right) for block in _chunks(counts)])

    @staticmethod
    def _block(held: np.ndarray, right: np.ndarray) -> np.ndarray:
        return _mean_where(_quotient(right, held, 0.0), held > 0)


@dataclass(frozen=True)
class MacroF1(Metric):
    """F1, averaged over the classes that the sample or the predictions hold (over all for multi-label)."""

    name: str = "macro F1"

    def compute(self, scores: np.ndarray, labels: np.ndarray) -> float:
        """scikit-learn's F1; a class without a hit counts 0."""
        from sklearn.metrics import f1_score

        if len(labels) == 0:
            return float("nan")
        truth, said = _indicators(scores, labels)
        held = np.flatnonzero(truth.any(0) | said.any(0)) if labels.ndim == 1 else np.arange(scores.shape[1])
        return float(f1_score(truth[:, held], said[:, held], average="macro", zero_division=0))

    def resampled(self, scores: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """From the resamples' class counts."""
        truth, said = _indicators(scores, labels)
        both = (truth & said).astype(np.float64)
        sizes = truth.astype(np.float64) + said
        single = labels.ndim == 1
        return np.concatenate([self._block(b @ both, b @ sizes, single) for b in _chunks(counts)])

    @staticmethod
    def _block(both: np.ndarray, sizes: np.ndarray, single: bool) -> np.ndarray:
        f1 = _quotient(2 * both, sizes, 0.0)
        return _mean_where(f1, sizes > 0) if single else f1.mean(-1)


def _indicators(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Truth and prediction as ``bool (N, K)``."""
    if labels.ndim == 2:
        return labels >= 0.5, scores >= 0.5
    eye = np.eye(scores.shape[1], dtype=bool)
    return eye[labels], eye[scores.argmax(1)]


def _columns(scores: np.ndarray, labels: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """One (score, truth) pair per class, one-vs-rest; a single one for two exclusive classes."""
    if labels.ndim == 2:
        return [(scores[:, k], labels[:, k] >= 0.5) for k in range(scores.shape[1])]
    if scores.shape[1] == 2:
        return [(scores[:, 1], labels == 1)]
    return [(scores[:, k], labels == k) for k in range(scores.shape[1])]


@dataclass(frozen=True)
class RocAuc(Metric):
    """Area under the ROC curve; one-vs-rest and macro-averaged for more than two classes."""

    name: str = "ROC-AUC"

    def compute(self, scores: np.ndarray, labels: np.ndarray) -> float:
        """scikit-learn's area; NaN when a class has no example or no counter-example."""
        from sklearn.metrics import roc_auc_score

        pairs = _columns(scores, labels)
        if len(labels) == 0 or any(truth.all() or not truth.any() for _, truth in pairs):
            return float("nan")
        return float(np.mean([roc_auc_score(truth, score) for score, truth in pairs]))

    def resampled(self, scores: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Each class sorted once for all resamples."""
        pairs = _columns(scores, labels)
        return np.concatenate(
            [np.mean([_weighted_auc(*pair, block) for pair in pairs], axis=0) for block in _chunks(counts)]
        )


@dataclass(frozen=True)
class MeanAveragePrecision(Metric):
    """Average precision, averaged over the classes that have a positive example."""

    name: str = "mean average precision"

    def compute(self, scores: np.ndarray, labels: np.ndarray) -> float:
        """scikit-learn's average precision."""
        from sklearn.metrics import average_precision_score

        pairs = [(score, truth) for score, truth in _columns(scores, labels) if truth.any()]
        if not pairs:
            return float("nan")
        return float(np.mean([average_precision_score(truth, score) for score, truth in pairs]))

    def resampled(self, scores: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Each class sorted once for all resamples."""
        pairs = _columns(scores, labels)
        blocks = []
        for block in _chunks(counts):
            values = np.stack([_weighted_precision(*pair, block) for pair in pairs], axis=-1)
            blocks.append(_mean_where(values, ~np.isnan(values)))
        return np.concatenate(blocks)


def _by_score(score: np.ndarray, truth: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts of positives and negatives per distinct score, ascending, ``(R, distinct)`` each."""
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(score[order]) > 0])
    positive = np.add.reduceat(counts[:, order] * truth[order], starts, axis=1)
    negative = np.add.reduceat(counts[:, order] * ~truth[order], starts, axis=1)
    return positive, negative


def _weighted_auc(score: np.ndarray, truth: np.ndarray, counts: np.ndarray) -> np.ndarray:
    positive, negative = _by_score(score, truth, counts)
    below = np.cumsum(negative, axis=1) - negative / 2  # ties count half
    return _quotient((positive * below).sum(1), positive.sum(1) * negative.sum(1), np.nan)


def _weighted_precision(score: np.ndarray, truth: np.ndarray, counts: np.ndarray) -> np.ndarray:
    positive, negative = _by_score(score, truth, counts)
    above = np.cumsum(positive[:, ::-1], axis=1)
    precision = _quotient(above, above + np.cumsum(negative[:, ::-1], axis=1), 0.0)
    return _quotient((positive[:, ::-1] * precision).sum(1), positive.sum(1), np.nan)


@dataclass(frozen=True)
class R2(Metric):
    """Coefficient of determination; NaN where the labels do not vary."""

    name: str = "R2"
    percent: bool = False

    def compute(self, scores: np.ndarray, labels: np.ndarray) -> float:
        """scikit-learn's R2."""
        from sklearn.metrics import r2_score

        if len(labels) < 2 or np.ptp(labels) == 0:
            return float("nan")
        return float(r2_score(labels.astype(np.float64), scores))

    def resampled(self, scores: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """From the resamples' sums of squares."""
        errors = squared_errors(scores, labels)
        centred = labels.astype(np.float64) - labels.mean(dtype=np.float64)
        moments = np.stack([errors, centred, centred**2], axis=1)
        sums = np.concatenate([block @ moments for block in _chunks(counts)])
        spread = sums[:, 2] - _quotient(sums[:, 1] ** 2, counts.sum(1), np.nan)
        # Rounding leaves a speck of spread where all labels of a resample are equal.
        return 1 - _quotient(sums[:, 0], np.where(spread > 1e-12 * sums[:, 2], spread, 0.0), np.nan)


ACCURACY = MeanMetric("accuracy", values=hits)
EXACT_MATCH = MeanMetric("exact match", values=exact_hits)
RMSE = MeanMetric("RMSE", higher_is_better=False, percent=False, values=squared_errors, root=True)
MAE = MeanMetric("MAE", higher_is_better=False, percent=False, values=absolute_errors)
BALANCED_ACCURACY = BalancedAccuracy()
MACRO_F1 = MacroF1()
ROC_AUC = RocAuc()
MEAN_AVERAGE_PRECISION = MeanAveragePrecision()
R_SQUARED = R2()
