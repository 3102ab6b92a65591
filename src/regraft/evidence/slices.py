"""Slices: the deciding metric for each value of a column, and which slices do worse than the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from regraft.core.bootstrap import bootstrap_interval
from regraft.core.randomness import numpy_generator
from regraft.core.statistics import holm
from regraft.tasks import Metric

MISSING = "(no value)"
MOST_VALUES = 30  # of a column; rarer ones are told together
_OTHERS = "(other values)"
_NUMBERS = 8  # more different numbers than this are put into quantile bins
_BINS = 4
_SHUFFLES, _LEAST = 10_000, 2_000
_WORK = 4e8  # numbers in all, beyond which fewer shuffles are drawn
_BLOCK = 250
_ENOUGH = 50  # shuffles that lag as much: p is no longer small, whatever the others say
_LEVEL = 0.05


@dataclass(frozen=True)
class Slice:
    """The examples with one value of a column, against all others.

    Attributes
    ----------
    column, value
        Which they are; ``12 to 40`` is a bin of numbers, both ends in it.
    count
        How many they are.
    figure, low, high
        The metric on them, with a 95% bootstrap interval; None where it is undefined.
    rest
        The metric on all other examples.
    p, adjusted
        Of "it is no worse than the rest": one-sided, from shuffles of who is in the slice, and Holm's
        adjustment for the number of slices of this column. None where nothing can be compared.
    worse
        Whether ``adjusted`` is at most .05.
    """

    column: str
    value: str
    count: int
    figure: float | None
    low: float | None
    high: float | None
    rest: float | None
    p: float | None
    adjusted: float | None
    worse: bool

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return asdict(self)


def slices(
    metric: Metric, scores: np.ndarray, labels: np.ndarray, columns: Mapping[str, Sequence[str | None]]
) -> list[Slice]:
    """The metric for each value of each column, in the order of the columns; largest slices first.

    Parameters
    ----------
    scores, labels
        Of examples that have a label.
    columns
        By name, a word or None for each of these examples. A column of more than 8 different numbers is cut
        into quarters of equal size.
    """
    found: list[Slice] = []
    for name, values in columns.items():
        groups = grouped(values)
        rows = [_slice(metric, scores, labels, name, value, inside) for value, inside in groups.items()]
        found += _adjusted(rows)
    return found


def grouped(values: Sequence[str | None]) -> dict[str, np.ndarray]:
    """``bool (N,)`` by value: who has it. Numbers in order, words by how many have them."""
    words = np.array([MISSING if value is None else value for value in values], dtype=object)
    there = np.array([value is not None for value in values], dtype=bool)
    numbers = _numbers(words[there])
    if numbers is not None and len(np.unique(numbers)) > _NUMBERS:
        return _quantiles(numbers, there)
    kinds, counts = np.unique(words.astype(str), return_counts=True)
    order = _numeric_order(kinds) if numbers is not None else np.argsort(-counts, kind="stable")
    named = {str(kinds[at]): words == kinds[at] for at in order[:MOST_VALUES]}
    if len(order) > MOST_VALUES:
        named[_OTHERS] = ~np.any(list(named.values()), axis=0)
    return named


def _numbers(words: np.ndarray) -> np.ndarray | None:
    try:
        numbers = np.array([float(word) for word in words])
    except ValueError:
        return None
    return numbers if len(numbers) and np.isfinite(numbers).all() else None


def _numeric_order(kinds: np.ndarray) -> np.ndarray:
    keys = [float("inf") if kind == MISSING else float(kind) for kind in kinds]
    return np.argsort(keys, kind="stable")


def _quantiles(numbers: np.ndarray, there: np.ndarray) -> dict[str, np.ndarray]:
    edges = np.unique(np.quantile(numbers, np.linspace(0, 1, _BINS + 1)[1:-1]))
    place = np.full(len(there), -1)
    place[there] = np.searchsorted(edges, numbers, side="right")
    named = {}
    for number in range(len(edges) + 1):
        inside = place == number
        if inside.any():
            held = numbers[inside[there]]
            named[f"{held.min():g} to {held.max():g}"] = inside
    if not there.all():
        named[MISSING] = ~there
    return named


def _slice(
    metric: Metric, scores: np.ndarray, labels: np.ndarray, column: str, value: str, inside: np.ndarray
) -> Slice:
    figure, rest = (metric.compute(scores[part], labels[part]) for part in (inside, ~inside))
    interval = bootstrap_interval(
        lambda counts: metric.resampled(scores[inside], labels[inside], counts),
        int(inside.sum()),
        purpose="slices",
    )
    p = _no_worse(metric, scores, labels, inside)
    ends = (_known(interval.low), _known(interval.high))
    if interval.low == interval.high:
        ends = _certain(metric, figure, int(inside.sum()))
    return Slice(column, value, int(inside.sum()), _known(figure), *ends, _known(rest), p, None, False)


def _certain(metric: Metric, figure: float, count: int) -> tuple[float | None, float | None]:
    """Where every resample is all right (or all wrong) a bootstrap would claim certainty."""
    from regraft.core.bootstrap import share_interval

    if not metric.percent or np.isnan(figure):
        return _known(figure), _known(figure)
    interval = share_interval(figure, count)
    return interval.low, interval.high


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _no_worse(metric: Metric, scores: np.ndarray, labels: np.ndarray, inside: np.ndarray) -> float | None:
    """One-sided p-value of the slice's lag behind the rest, were it drawn from all examples at random.

    A permutation test (Fisher 1935; Phipson and Smyth 2010 for the one added), right for any metric, that
    ends early where p is large (Besag and Clifford 1991).
    """
    size, count = int(inside.sum()), len(labels)
    if not 0 < size < count:
        return None
    sign = 1.0 if metric.higher_is_better else -1.0
    observed = sign * _lag(metric, scores, labels, inside[None])[0]
    if np.isnan(observed):
        return None
    shuffles = int(np.clip(_WORK // (scores.size * 2), _LEAST, _SHUFFLES))
    random = numpy_generator(0, "slices", count, size)
    below = defined = 0
    for start in range(0, shuffles, _BLOCK):
        if below >= _ENOUGH:
            break
        drawn = np.zeros((min(_BLOCK, shuffles - start), count), dtype=bool)
        for row in drawn:
            row[random.permutation(count)[:size]] = True
        lags = sign * _lag(metric, scores, labels, drawn)
        lags = lags[~np.isnan(lags)]
        below, defined = below + int((lags <= observed + 1e-12).sum()), defined + len(lags)
    return (below + 1) / (defined + 1) if defined else None


def _lag(metric: Metric, scores: np.ndarray, labels: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The metric inside less that outside, for rows of ``bool (R, N)``."""
    parts = [metric.resampled(scores, labels, part.astype(np.int32)) for part in (inside, ~inside)]
    return np.asarray(parts[0] - parts[1])


def _adjusted(rows: list[Slice]) -> list[Slice]:
    from dataclasses import replace

    at = [place for place, row in enumerate(rows) if row.p is not None]
    found = holm([row.p for row in rows if row.p is not None])
    for place, adjusted in zip(at, found, strict=True):
        rows[place] = replace(rows[place], adjusted=adjusted, worse=adjusted <= _LEVEL)
    return rows
