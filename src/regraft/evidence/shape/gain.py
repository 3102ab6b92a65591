"""Dissimilar task: do the source's features say more about the labels than the raw inputs do?

A distance between the target's inputs and those that the source was trained on would need those; what decides
in the end is whether its features help. Both sides are fitted in the same way to the same few labels and
judged by exact leave-one-out: features by ridge regression, which is what ``probe`` does; pixels by ridge
regression with a Gaussian kernel, texts by ridge regression on their pieces of 2 to 4 characters, which is
nearly what the plain baseline does that a verdict is about.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from regraft.core.linalg import decompose, leave_one_out
from regraft.evidence.shape.finding import Finding
from regraft.tasks import Task
from regraft.terms.solvers.base import penalties_of

MOST = 400
"""Examples that are looked at: their decomposition takes a tenth of a second."""
LEAST = 30
"""Examples below which nothing is said."""
_Z = 1.6449  # one-sided 95%


@dataclass(frozen=True)
class Gain:
    """What features gain over raw inputs in leave-one-out.

    Attributes
    ----------
    output
        Of which output.
    features, raw
        Mean score of each example's prediction (accuracy; for a regression minus the mean squared error in
        units of the labels' variance).
    difference, error
        Features minus raw, and the standard error of that paired mean.
    examples
        How many were compared.
    what
        The raw side in words.
    """

    output: str
    features: float
    raw: float
    difference: float
    error: float
    examples: int
    what: str

    def finding(self) -> Finding | None:
        """A finding where raw inputs do better, with 95% certainty."""
        high = self.difference + _Z * self.error
        if not high < 0:
            return None
        sentence = (
            f"{self.output}: dissimilar task: on {self.examples} labels the source's frozen features reach "
            f"{self.features:.1%} in leave-one-out, {self.what} {self.raw:.1%}: a gain of "
            f"{100 * self.difference:+.1f} points (standard error {100 * self.error:.1f}, reference: 0)."
        )
        advice = (
            "A source nearer to these data (regraft sources), or training its layers (--strategy lpft:all), "
            "may change it; regraft prove tells whether any of it beats a model without a source."
        )
        return Finding("dissimilar task", self.difference, 0.0, sentence, advice)


def features_gain(
    task: Task, features: np.ndarray, raw: np.ndarray, labels: np.ndarray, *, what: str
) -> Gain | None:
    """Compare both sides on the same examples; None for fewer than 30 with a label.

    Parameters
    ----------
    features, raw
        ``Float[ndarray, "N D"]`` and ``Float[ndarray, "N E"]``.
    labels
        Of one output, encoded as TaskSpec says.
    what
        The raw side in words.
    """
    there = np.flatnonzero(task.present(labels))[:MOST]
    if len(there) < LEAST or _all_alike(labels[there]):
        return None
    theirs, own = (_best(task, side[there], labels[there]) for side in (features, raw))
    gap = theirs - own
    error = float(gap.std(ddof=1) / len(gap) ** 0.5)
    return Gain(
        task.spec.name, float(theirs.mean()), float(own.mean()), float(gap.mean()), error, len(gap), what
    )


def _all_alike(labels: np.ndarray) -> bool:
    return bool((labels == labels[:1]).all())


def _best(task: Task, values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How good each example's leave-one-out prediction is at the best penalty, ``float64 (N,)``."""
    truth = task.regressand(labels)
    parts = decompose(values)
    unit = float(np.var(labels)) if task.spec.kind == "regression" else 1.0
    best = np.full(len(labels), -np.inf)
    for prediction in leave_one_out(parts, truth, [one * parts.unit for one in penalties_of(None)]):
        found = task.per_example(task.scores(prediction), labels) / unit
        if found.mean() > best.mean():
            best = found
    return best
