"""Labelled examples in the eyes of one source: the noun that every score is a function of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.sparse import csr_array

from regraft.core.errors import DataError, UsageError
from regraft.core.task_spec import TASK_KINDS, TaskKind
from regraft.scores.features import Features
from regraft.scores.reading import read_probabilities, read_targets


@dataclass(frozen=True, eq=False)
class Examples:
    """N examples of a target with a source's features, and what scores need of them, decided once.

    >>> examples = Examples.of(features, labels, source_probabilities=softmax)
    >>> leep(examples), logme(examples), ridge(examples).accuracy

    Attributes
    ----------
    features
        Of width D; shared between the labels of a multi-label task, with what was computed of them.
    kind
        ``binary``, ``multiclass``, ``multilabel`` or ``regression``.
    targets
        ``float64 (N, K)``: one column of 0 and 1 for each class that has an example, for each label that is
        sometimes 0 and sometimes 1, or the regression's values.
    source_probabilities
        ``float64 (N, Z)``: what the source's own head says of each example, or None.
    """

    features: Features
    kind: TaskKind
    targets: np.ndarray
    source_probabilities: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        features: np.ndarray | Features,
        labels: np.ndarray,
        *,
        kind: TaskKind = "multiclass",
        source_probabilities: np.ndarray | None = None,
    ) -> Examples:
        """Check and encode; examples without a label are left out.

        Parameters
        ----------
        features
            ``Float[ndarray, "N D"]``.
        labels
            One output's, encoded as :class:`regraft.core.task_spec.TaskSpec` says: ``int (N,)`` with -1 where
            missing for binary and multiclass, ``(N, K)`` of 0 and 1 for multilabel, ``(N,)`` or ``(N, K)``
            for regression, NaN where missing. A class without an example plays no part, and so does a label
            that is always 0 or always 1.
        source_probabilities
            ``Float[ndarray, "N Z"]``, rows that sum to 1; scores that look at the source's head need them.

        Raises
        ------
        DataError
            Fewer than two labelled examples, a single class, targets that never vary, numbers that are not
            finite, rows of probabilities that do not sum to 1.
        UsageError
            An unknown kind, or as many labels or probabilities as there are no examples.
        """
        if kind not in TASK_KINDS:
            raise UsageError(f"scores know the kinds {', '.join(TASK_KINDS)}; found {kind!r}")
        whole = features.values if isinstance(features, Features) else np.asarray(features)
        rows, targets = read_targets(np.asarray(labels), kind, len(whole))
        probabilities = None
        if source_probabilities is not None:
            probabilities = read_probabilities(np.asarray(source_probabilities), len(whole))[rows]
        if isinstance(features, Features) and len(rows) == len(whole):
            return cls(features, kind, targets, probabilities)
        return cls(Features.of(whole[rows]), kind, targets, probabilities)

    @property
    def count(self) -> int:
        """N, the number of examples."""
        return len(self.targets)

    @property
    def outputs(self) -> int:
        """K: classes, labels, or values of a regression."""
        return int(self.targets.shape[1])

    @cached_property
    def codes(self) -> np.ndarray:
        """``int64 (N,)``: each example's class, a column of ``targets``."""
        self._needs_classes()
        return np.asarray(self.targets.argmax(axis=1))

    @cached_property
    def counts(self) -> np.ndarray:
        """``float64 (C,)``: examples of each class, none of them 0."""
        self._needs_classes()
        return np.asarray(self.targets.sum(axis=0))

    @cached_property
    def membership(self) -> csr_array:
        """``(C, N)`` of 0 and 1, sparse: sums over classes are products with it, in time linear in N."""
        ones = np.ones(self.count)
        return csr_array((ones, (self.codes, np.arange(self.count))), shape=(self.outputs, self.count))

    @cached_property
    def by_class(self) -> tuple[np.ndarray, ...]:
        """For each class the rows of its examples."""
        order = np.argsort(self.codes, kind="stable")
        return tuple(np.split(order, np.cumsum(self.counts.astype(np.int64))[:-1]))

    @cached_property
    def projected(self) -> np.ndarray:
        """``float64 (R, K)``: U^T Y, the targets in the space of the centred features."""
        U = self.features.decomposition.U
        if self.kind in ("binary", "multiclass"):
            return np.asarray(self.membership @ U).T
        return U.T @ (self.targets - self.targets.mean(axis=0))

    @cached_property
    def class_means(self) -> np.ndarray:
        """``float64 (C, R)``: means of the classes in the principal axes, the mean of all being 0."""
        return (np.sqrt(self.features.decomposition.s)[:, None] * self.projected / self.counts).T

    def with_features(self, features: Features) -> Examples:
        """The same labels on other features of the same examples."""
        return replace(self, features=features)

    def label_by_label(self) -> tuple[Examples, ...]:
        """One binary task for each label of a multi-label one; features are shared."""
        return tuple(
            replace(self, kind="binary", targets=np.stack([1 - column, column], axis=1))
            for column in self.targets.T
        )

    def mean_over_labels(self, compute: Callable[[Examples], float]) -> float:
        """A score of classes; for a multi-label task the mean over its labels, each a binary task.

        Raises :class:`UsageError` for a regression.
        """
        if self.kind == "multilabel":
            return float(np.mean([compute(one) for one in self.label_by_label()]))
        self._needs_classes()
        return float(compute(self))

    def probabilities(self) -> np.ndarray:
        """``float64 (N, Z)``: the source head's; :class:`UsageError` where they were not given."""
        if self.source_probabilities is None:
            raise UsageError(
                "this score looks at what the source's own head says: hand it over, as in "
                "Examples.of(features, labels, source_probabilities=softmax)"
            )
        return self.source_probabilities

    def _needs_classes(self) -> None:
        if self.kind not in ("binary", "multiclass"):
            raise UsageError(
                f"this score compares classes, and the task is a {self.kind}; "
                "logme, ridge and knn are there for every kind of task"
            )


def same_examples(pool: tuple[Examples, ...]) -> None:
    """Raise :class:`DataError` unless all candidates of a pool were given the same labels."""
    if any(
        one.targets.shape != pool[0].targets.shape or (one.targets != pool[0].targets).any() for one in pool
    ):
        raise DataError("the candidates of a pool are compared on the same examples, in the same order")
