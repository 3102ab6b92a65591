"""Errand: what is to be found out about one candidate on some examples, as a value that a worker is handed.

Each function here is called with the whole target, which all errands share, an errand and a tick, and
gives little: seconds, a price, figures. What networks gave stays in the activation cache.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from regraft.choosing.ranking.race import price_of, race, race_seconds
from regraft.choosing.ranking.reader import Reader
from regraft.choosing.ranking.sample import Sample
from regraft.choosing.ranking.score import Score, score_features
from regraft.core.executors import Tick
from regraft.core.task_spec import TaskSpec
from regraft.engine.price import Price
from regraft.targets import Target


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
        Of the probe.
    backend
        What the network ran on, for the samples after it.
    """

    score: Score
    backend: str


def timed(target: Target, errand: Errand, tick: Tick) -> float:
    """Seconds of the network for one example."""
    return errand.reader.seconds(errand.sample(target))


def looked(target: Target, errand: Errand, tick: Tick) -> Look:
    """The score of a sample; each example that was read is a tick."""
    sample = errand.sample(target)
    features = errand.reader.features(sample, tick)
    score = score_features(features, sample.labels, sample.task, errand.name)
    return Look(score, errand.reader.backend)


def priced(target: Target, errand: Errand, tick: Tick) -> Price:
    """What fine-tuning with all labels costs."""
    return price_of(errand.reader.source, errand.sample(target))


def foretold(target: Target, errand: Errand, tick: Tick) -> float:
    """Seconds that a race takes at most."""
    return race_seconds(errand.reader.source, errand.sample(target))


def raced(target: Target, errand: Errand, tick: Tick) -> Score:
    """The score of a race."""
    return race(errand.reader.source, errand.sample(target), errand.reader.settings)
