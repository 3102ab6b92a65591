"""Errand: what is to be found out about one candidate on some examples, as a value that a worker is handed.

Each function here is called with the whole target, which all errands share, an errand and a tick, and
gives little: seconds, a price, figures. What networks gave stays in the activation cache.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from regraft.choosing.ranking.forecast import curve_sizes
from regraft.choosing.ranking.race import price_of, race, race_seconds
from regraft.choosing.ranking.reader import Reader
from regraft.choosing.ranking.sample import Sample
from regraft.choosing.ranking.score import Score, score_features
from regraft.core.executors import Tick
from regraft.core.task_spec import TaskSpec
from regraft.engine.price import Price
from regraft.targets import Target

_CURVE = 16  # examples below which a sample has no learning curve


@dataclass(frozen=True, eq=False)
class Errand:
    """A candidate's reader and a sample without its target.

    Attributes
    ----------
    name
        The candidate's.
    reader
        Of its network; in another process the network is opened anew.
    spec, seed, indices
        See :class:`regraft.choosing.ranking.sample.Sample`.
    """

    name: str
    reader: Reader
    spec: TaskSpec
    seed: int
    indices: np.ndarray

    @classmethod
    def to(cls, name: str, reader: Reader, sample: Sample) -> Errand:
        """What is to be found out on a sample."""
        return cls(name, reader, sample.spec, sample.seed, sample.indices)

    def sample(self, target: Target) -> Sample:
        """The examples."""
        return Sample(target, self.spec, self.seed, self.indices)


@dataclass(frozen=True, eq=False)
class Look:
    """What looking at a sample gave.

    Attributes
    ----------
    score
        Of all of it.
    curve
        Figures on the scale for samples that double in size up to this one.
    backend
        What the network ran on, for the samples after it.
    """

    score: Score
    curve: tuple[float, ...]
    backend: str


def timed(target: Target, errand: Errand, tick: Tick) -> float:
    """Seconds of the network for one example."""
    return errand.reader.seconds(errand.sample(target))


def looked(target: Target, errand: Errand, tick: Tick) -> Look:
    """The score of a sample; each example that was read is a tick."""
    sample = errand.sample(target)
    features = errand.reader.features(sample, tick)
    labels, task = sample.labels, sample.task
    curve = []
    for size in curve_sizes(len(sample), max(_CURVE, 2 * len(errand.spec.classes)))[:-1]:
        places = sample.within(size)
        curve.append(score_features(features[places], labels[places], task, errand.name).value)
    score = score_features(features, labels, task, errand.name)
    return Look(score, (*curve, score.value), errand.reader.backend)


def priced(target: Target, errand: Errand, tick: Tick) -> Price:
    """What fine-tuning with all labels costs."""
    return price_of(errand.reader.source, errand.sample(target))


def foretold(target: Target, errand: Errand, tick: Tick) -> float:
    """Seconds that a race takes at most."""
    return race_seconds(errand.reader.source, errand.sample(target))


def raced(target: Target, errand: Errand, tick: Tick) -> Score:
    """The score of a race."""
    return race(errand.reader.source, errand.sample(target), errand.reader.settings)
