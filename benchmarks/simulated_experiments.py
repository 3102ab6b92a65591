"""Simulated experiments with a known truth, many at once: what ``verdicts.py`` judges.

An experiment has a strategy and several arms without a source, a finite pool of which every seed draws
training examples, and a test part. Whether arm a, trained on the draw of seed s, is right on test example j
is decided by a latent number above zero:

    level_a + difficulty_j + taste_aj + chance_asj + draw_as + start_as

- ``draw_as`` is the mean influence of the examples drawn (a part of it the same for all arms): draws that
  share examples are correlated by as much as they share, and all hang on the one pool;
- ``start_as`` is initialisation and order, new for every seed;
- difficulty and taste belong to the example and are the same for all seeds, chance is not.

All are normal, so the arms' accuracies on the population of pools, draws and examples are known exactly.
Validation examples are fresh ones, scored by the same trained models: the arm that looks best on them is so
in part because this pool and these draws happened to suit it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from regraft.core.paired import Intervals, intervals, two_way
from regraft.core.randomness import numpy_generator

RESAMPLES = 1000  # of the test part in a real verdict, whose noise the simulated variances are given


@dataclass(frozen=True)
class Setting:
    """What an experiment is like.

    Attributes
    ----------
    overlap
        The share of its labelled examples that a draw has in common with another, about.
    spread
        The accuracy's standard deviation between seeds.
    test
        Number of test examples.
    common
        The part of the draws' variance that all arms share.
    started
        The part of the variance between seeds that comes from initialisation instead of the draw.
    accuracy
        About that of all arms.
    arms
        Arms without a source.
    drawn, validation
        Labelled examples to train on, and to validate on.
    """

    overlap: float = 0.5
    spread: float = 0.02
    test: int = 300
    common: float = 0.0
    started: float = 0.0
    accuracy: float = 0.8
    arms: int = 3
    drawn: int = 80
    validation: int = 20

    @property
    def pool(self) -> int:
        """How many examples the draws come from."""
        return round((self.drawn + self.validation) / self.overlap)


@dataclass(frozen=True)
class Latents:
    """What chance gave to a block of experiments; levels turn it into hits."""

    tests: np.ndarray  # (experiments, arms, seeds, examples)
    validations: np.ndarray
    overlap: np.ndarray  # (experiments, seeds, seeds), shares of examples

    def hits(self, levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Whether each arm is right on each test example, and its accuracy on validation."""
        thresholds = -levels.astype(np.float32)[:, None, None]
        return self.tests > thresholds, (self.validations > thresholds).mean(axis=-1)


def blocks(
    setting: Setting, experiments: int, *, seeds: int, seed: int = 0, size: int = 250
) -> Iterator[Latents]:
    """Latents of all experiments, some at a time."""
    for start in range(0, experiments, size):
        random = numpy_generator(seed, "simulated experiments", repr(setting), start)
        yield _latents(setting, min(size, experiments - start), seeds, random)


def _latents(setting: Setting, experiments: int, seeds: int, random: np.random.Generator) -> Latents:
    arms, width = setting.arms + 1, _latent_spread(setting)
    taken, training = _draws(setting, experiments, seeds, random)
    drawn = width * (1 - setting.started) ** 0.5 * _influences(setting, training, arms, random)
    started = width * setting.started**0.5 * _normal(random, experiments, arms, seeds)
    moved = (drawn + started).astype(np.float32)[..., None]
    shape = (experiments, arms, seeds)
    parts = [_examples(random, shape, count, 1 - width**2) for count in (setting.test, setting.validation)]
    used = np.einsum("esn,etn->est", taken, taken) / (setting.drawn + setting.validation)
    return Latents(parts[0] + moved, parts[1] + moved, used)


def _latent_spread(setting: Setting) -> float:
    """The latent standard deviation that gives the accuracy's, to first order; the latent total is 1."""
    return setting.spread / float(norm.pdf(norm.ppf(setting.accuracy)))


def _draws(
    setting: Setting, experiments: int, seeds: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Which examples of the pool each seed takes, and which of them it trains on."""
    order = random.random((experiments, seeds, setting.pool), dtype=np.float32).argsort(axis=-1)
    taken = order < setting.drawn + setting.validation
    return taken.astype(np.float32), (order < setting.drawn).astype(np.float32)


def _influences(setting: Setting, training: np.ndarray, arms: int, random: np.random.Generator) -> np.ndarray:
    """Mean influence of each draw on each arm ``(experiments, arms, seeds)``, of variance 1."""
    experiments, _, pool = training.shape
    own = _normal(random, experiments, arms, pool) * (1 - setting.common) ** 0.5
    both = _normal(random, experiments, 1, pool) * setting.common**0.5
    return np.asarray((own + both) @ training.transpose(0, 2, 1) / setting.drawn**0.5)


def _examples(
    random: np.random.Generator, shape: tuple[int, int, int], count: int, variance: float
) -> np.ndarray:
    """Difficulty, taste and chance of ``count`` examples, in equal parts."""
    experiments, arms, seeds = shape
    scale = np.float32((variance / 3) ** 0.5)
    found = _normal(random, experiments, arms, seeds, count)
    found += _normal(random, experiments, arms, 1, count)
    found += _normal(random, experiments, 1, 1, count)
    return found * scale


def _normal(random: np.random.Generator, *shape: int) -> np.ndarray:
    return random.standard_normal(shape, dtype=np.float32)


def levels_of(accuracies: np.ndarray) -> np.ndarray:
    """Latent levels of these accuracies on the population."""
    return np.asarray(norm.ppf(accuracies))


@dataclass(frozen=True)
class Moments:
    """What intervals are made of, of contrasts ``(experiments, arms without a source)``."""

    values: np.ndarray  # (experiments, arms, seeds): paired differences, the strategy less the arm
    shared: np.ndarray
    interaction: np.ndarray
    overlap: np.ndarray  # (experiments, 1)
    count: int


def moments(
    hits: np.ndarray, overlap: np.ndarray, seeds: int, random: np.random.Generator | None = None
) -> Moments:
    """Of the first ``seeds`` seeds, as ``regraft.evidence.contrasts`` takes them.

    Its bootstrap of the test part is replaced by the table's exact variances, with the noise that so many
    resamples have, if ``random`` is given.
    """
    tables = hits[:, :1, :seeds].astype(np.float32) - hits[:, 1:, :seeds]
    shared, interaction = two_way(tables)
    if random is not None:
        noise = random.chisquare(RESAMPLES - 1, (2, *shared.shape)) / (RESAMPLES - 1)
        shared, interaction = shared * noise[0], interaction * noise[1]
    pairs = overlap[:, *np.triu_indices(seeds, 1)].mean(axis=1)[:, None]
    return Moments(tables.mean(axis=-1, dtype=np.float64), shared, interaction, pairs, hits.shape[-1])


def contrasts(found: Moments, *, plain: bool = False) -> Intervals:
    """Intervals of the differences; ``plain`` as they were before this was simulated."""
    if plain:
        return _plain(found)
    return intervals(
        found.values,
        overlap=found.overlap,
        shared=found.shared,
        interaction=found.interaction,
        count=found.count,
    )


def _plain(found: Moments) -> Intervals:
    """Variances put in as they are found, degrees of freedom after Satterthwaite."""
    seeds = found.values.shape[-1]
    spread = found.values.var(axis=-1, ddof=1)
    ratio = found.overlap / (1 - found.overlap)
    drawn = spread / seeds + np.maximum(0.0, spread - found.interaction) * ratio
    total = drawn + found.shared
    shares = drawn**2 / (seeds - 1) + found.shared**2 / (found.count - 1)
    degrees = np.where(shares > 0, total**2 / np.where(shares > 0, shares, 1.0), seeds - 1)
    return Intervals(found.values.mean(axis=-1), np.sqrt(total), degrees)
