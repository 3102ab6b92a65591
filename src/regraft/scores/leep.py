"""leep: how well the source's own predictions, translated into the target's classes, explain the labels."""

from __future__ import annotations

import numpy as np

from regraft.scores.examples import Examples


def leep(examples: Examples) -> float:
    r"""LEEP (Nguyen, Hassner, Seeger, Archambeau 2020), the mean log-likelihood of a naive translator.

    .. math:: \frac1N \sum_i \ln \sum_z \hat P(y_i \mid z)\, \theta_{iz}, \qquad
        \hat P(y, z) = \frac1N \sum_{i: y_i = y} \theta_{iz}

    with the source's probabilities :math:`\theta` ``(N, Z)``. At most 0, higher is better; time ``N Z``. A
    source class without any mass says nothing and is left out (the authors' quotient is NaN there). Of
    several labels the mean. Only of a supervised source; source heads of different size are not comparable.
    """
    return examples.mean_over_labels(_leep)


def _leep(examples: Examples) -> float:
    return log_expected_prediction(examples, examples.probabilities())


def log_expected_prediction(examples: Examples, theta: np.ndarray) -> float:
    """LEEP's formula for any distribution ``theta (N, Z)`` over Z dummy classes."""
    joint = np.asarray(examples.membership @ theta)
    mass = joint.sum(axis=0)
    given = np.divide(joint, mass, out=np.zeros_like(joint), where=mass > 0)
    # Class by class, since all of given[codes] would be as large as theta.
    explained = [theta[rows] @ given[label] for label, rows in enumerate(examples.by_class)]
    return float(np.log(np.concatenate(explained)).mean())
