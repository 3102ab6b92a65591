"""What a plan will cost on this machine, measured on a handful of real examples before anything is run."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from regraft.core.console import duration
from regraft.core.inputs import Batch
from regraft.engine.freezing import decide_freeze
from regraft.linking import Grafted, Link
from regraft.plans import Plan, TrainStage
from regraft.targets import Target, prepare

_PROBE = 8  # examples that are timed


@dataclass(frozen=True)
class Price:
    """Upper estimates in seconds: compiled layers and early stopping make a run cheaper.

    Attributes
    ----------
    features
        Running the frozen layers once over all examples, eagerly.
    stages
        By name of each train stage, for all the epochs it may take.
    examples
        How many examples the target has.
    """

    features: float
    stages: dict[str, float]
    examples: int

    @property
    def total(self) -> float:
        """All of it."""
        return self.features + sum(self.stages.values())


def price(plan: Plan, target: Target, link: Link) -> Price:
    """Time the student's network on a few of the target's examples and count what the plan makes of it."""
    few = target.select(target.pool[:_PROBE])
    prepared = prepare(few, link.graft.source.preprocessing, max_unreadable=1.0)
    model = link.load() if plan.models["student"].initialise == "linked" else link.fresh().load()
    batch = prepared.inputs.batch(np.arange(len(prepared.inputs.owners)))
    count = len(prepared.inputs)
    used = _used(plan, target)
    forward = _time(lambda: _forward(model, batch)) / count
    stages = {
        stage.name: _time(_stepper(model, stage, batch)) / count * used * _epochs(stage, used)
        for stage in plan.stages
        if isinstance(stage, TrainStage)
    }
    return Price(forward * (used + len(target.test)), stages, used + len(target.test))


def price_in_words(plan: Plan, target: Target, link: Link) -> str:
    """The price in a sentence."""
    found = price(plan, target, link)
    parts = [f"the frozen layers once over {found.examples} examples, {duration(found.features)} at most"]
    parts += [f"stage {name!r}, {duration(seconds)} at most" for name, seconds in found.stages.items()]
    return f"On this machine: {'; '.join(parts)}. Compiled layers, the cache and early stopping make it less."


def _used(plan: Plan, target: Target) -> int:
    draw = plan.draw
    if draw.train_size is not None:
        return min(draw.train_size, len(target.pool))
    if draw.per_class is not None:
        classes = max((len(spec.classes) for spec in target.tasks), default=1)
        return min(draw.per_class * max(classes, 1), len(target.pool))
    return len(target.pool)


def _epochs(stage: TrainStage, used: int) -> float:
    stop = stage.stop
    by_steps = stop.steps * 32 / max(used, 1) if stop.steps else float("inf")
    return min(float(stop.epochs or "inf"), by_steps)


def _time(work: Callable[[], None]) -> float:
    """Seconds of the second of two calls: the first one pays for allocation."""
    work()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _forward(model: Grafted, batch: Batch) -> None:
    with torch.inference_mode():
        model.trunk(batch)


def _stepper(model: Grafted, stage: TrainStage, batch: Batch) -> Callable[[], None]:
    """Forward and backward through what the stage trains; the frozen prefix is computed now, once."""
    freeze = decide_freeze(model, stage.trainable, stage.frozen_prefix)
    freeze.set_gradients(model)
    with torch.no_grad():
        activation = model.trunk.prefix(batch, cut=freeze.cut) if freeze.cut else None

    def step() -> None:
        features = model.trunk.suffix(activation, batch, cut=freeze.cut)
        total = torch.stack([values.sum() for values in model.head_outputs(features).values()]).sum()
        total.backward()
        model.zero_grad(set_to_none=True)

    return step
