"""The race: sources that a probe cannot tell apart are fine-tuned for a few epochs.

Half of the sample, 256 examples at most, is fine-tuned on (a fifth of it decides when to stop), the rest
judges. What stands in front of the last blocks is frozen and computed once: a race costs a fraction of a run.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from regraft.choosing.ranking.sample import Sample, check_aligned
from regraft.choosing.ranking.score import Score
from regraft.engine import Settings, execute, open_workspace
from regraft.engine.price import Price, price
from regraft.linking import Blueprint, Link, find_link
from regraft.plans import DrawSpec, Plan, change_plan
from regraft.sources import Source
from regraft.strategies import plan_for
from regraft.targets import Draw, Target
from regraft.tasks import make_task

STRATEGY = "lpft"
EPOCHS = 5
_SHARE = 0.5  # of the sample that is fine-tuned on,
_MOST = 256  # and no more examples than this
_VALIDATION = 0.2  # of them
_FEWEST = 128
"""Examples that judge. Two sources that differ on 3 of 10 of them are told apart to ``(0.3 / 128) ** 0.5``, 5
points of accuracy; with 60 it is 7, more than what a probe leaves open, and in ``benchmarks/live`` such races
put worse sources first than the probe had."""


def price_of(source: Source, sample: Sample) -> Price:
    """What fine-tuning a source with all labels of the pool costs here, measured on a few examples."""
    link = _link(source, sample)
    return price(plan_for(link, STRATEGY), _bare(sample.target, sample), link)


def race_seconds(source: Source, sample: Sample) -> float:
    """What :func:`race` costs at most, measured as :func:`price_of` does."""
    few = sample.target.select(sample.indices)
    link = _link(source, sample)
    return price(_plan(link, sample), _bare(few, sample), link).total


def can_race(sample: Sample) -> bool:
    """Whether there are enough examples for a race to say anything."""
    return len(sample) - _trained_on(sample) >= _FEWEST


def _trained_on(sample: Sample) -> int:
    return min(round(len(sample) * _SHARE), _MOST)


def race(source: Source, sample: Sample, settings: Settings) -> Score:
    """Fine-tune a source on half of the sample and score it on the other half.

    Raises what the engine raises where training has to stop.
    """
    prepared, places = sample.read_by(source.preprocessing)
    check_aligned(sample, places, source.name)
    target = _bare(sample.target.select(sample.indices), sample)
    draw = _draw(target, sample)
    labels = sample.labels
    task = make_task(sample.spec).fitted(labels[draw.train])
    link = _link(source, sample)
    plan = _plan(link, sample)
    work = open_workspace(
        plan,
        target,
        prepared.inputs,
        {"student": link},
        {sample.spec.name: task},
        draw,
        settings=settings,
    )
    execute(work)
    judges = np.setdiff1d(np.arange(len(sample)), np.concatenate([draw.train, draw.validation]))
    logits = work.logits(judges)[sample.spec.name]
    return Score(task.scores(logits), labels[judges], task.metrics[0])


def _plan(link: Link, sample: Sample) -> Plan:
    draw = DrawSpec(train_size=_trained_on(sample), validation=_VALIDATION)
    written = plan_for(link, STRATEGY, seed=sample.seed, draw=draw)
    return change_plan(written, [f"stop.epochs={EPOCHS}"])


def _draw(target: Target, sample: Sample) -> Draw:
    return target.draw(sample.seed, train_size=_trained_on(sample), validation=_VALIDATION)


def _link(source: Source, sample: Sample) -> Link:
    return find_link(source, Blueprint(source, (make_task(sample.spec),)))


def _bare(target: Target, sample: Sample) -> Target:
    """The target with the one output that sources are compared on."""
    return replace(target, tasks=(sample.spec,), unreadable=(), members=())
