"""nce: how little of the target's labels is left open by the source's decisions."""

from __future__ import annotations

import numpy as np
from scipy.special import xlogy

from regraft.scores.examples import Examples


def nce(examples: Examples) -> float:
    r"""Negative conditional entropy (Tran, Nguyen, Hassner 2019).

    .. math:: -H(Y \mid Z) = \sum_{y, z} \hat P(y, z) \ln \frac{\hat P(y, z)}{\hat P(z)}

    where z is the source class of highest probability (the first of equals). At most 0, higher is better;
    time ``N Z``. A pair that never occurs counts 0. Of several labels the mean. Z as large as N makes it 0
    whatever the labels: it is not to be used with more source classes than examples.
    """
    return examples.mean_over_labels(_nce)


def _nce(examples: Examples) -> float:
    said = examples.probabilities().argmax(axis=1)
    joint = np.zeros((examples.outputs, said.max() + 1))
    np.add.at(joint, (examples.codes, said), 1 / examples.count)
    mass = joint.sum(axis=0)
    return float(xlogy(joint, joint).sum() - xlogy(mass, mass).sum())
