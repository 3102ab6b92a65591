"""Two data sets in the features of one source: what every distance between domains is a function of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from regraft.core.errors import DataError, UsageError
from regraft.core.randomness import numpy_generator
from regraft.scores.features import Features


@dataclass(frozen=True, eq=False)
class Domains:
    """Features of N source and M target examples, made by the same network.

    Attributes
    ----------
    source, target
        Of width D.
    source_labels, target_labels
        ``int64 (N,)`` and ``(M,)``, class numbers of each side's own task, or None.
    """

    source: Features
    target: Features
    source_labels: np.ndarray | None = None
    target_labels: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        source: np.ndarray,
        target: np.ndarray,
        *,
        source_labels: np.ndarray | None = None,
        target_labels: np.ndarray | None = None,
    ) -> Domains:
        """Check both sides.

        Raises :class:`DataError` for empty, not finite or differently wide features and fewer than two
        examples, :class:`UsageError` for labels that are not one whole number for each example.
        """
        first, second = Features.of(source), Features.of(target)
        if first.width != second.width:
            raise DataError(
                f"both domains are compared in the features of one network; the source's are {first.width} "
                f"wide, the target's {second.width}"
            )
        if min(first.count, second.count) < 2:
            raise DataError(
                f"a distance needs 2 examples of each domain, found {first.count} and {second.count}"
            )
        labels = [
            None if given is None else _classes(np.asarray(given), side.count)
            for given, side in ((source_labels, first), (target_labels, second))
        ]
        return cls(first, second, labels[0], labels[1])

    @property
    def width(self) -> int:
        """D, the number of features."""
        return self.source.width

    @cached_property
    def both(self) -> np.ndarray:
        """``float64 (N + M, D)``: the source's examples, then the target's."""
        return np.concatenate([self.source.values, self.target.values])

    def at_most(self, limit: int, *, seed: int, purpose: str) -> Domains:
        """No more than ``limit`` examples of each side, drawn without replacement by the seed."""
        if limit < 2:
            raise UsageError(f"a limit leaves at least 2 examples of each domain; found {limit}")
        source, source_labels = _drawn(self.source, self.source_labels, limit, seed, f"{purpose} source")
        target, target_labels = _drawn(self.target, self.target_labels, limit, seed, f"{purpose} target")
        return replace(
            self, source=source, target=target, source_labels=source_labels, target_labels=target_labels
        )


def _classes(labels: np.ndarray, count: int) -> np.ndarray:
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        raise UsageError(
            f"{count} examples of a domain need a whole number each as label, "
            f"found {labels.dtype} {labels.shape}"
        )
    return np.unique(labels, return_inverse=True)[1]


def _drawn(
    features: Features, labels: np.ndarray | None, limit: int, seed: int, purpose: str
) -> tuple[Features, np.ndarray | None]:
    if features.count <= limit:
        return features, labels
    rows = np.sort(numpy_generator(seed, purpose).choice(features.count, limit, replace=False))
    return Features(features.values[rows]), None if labels is None else labels[rows]
