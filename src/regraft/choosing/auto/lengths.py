"""How long plans train: shorter in a race that has little time, and in proportion to a fold's labels."""

from __future__ import annotations

import math
from collections.abc import Callable

from regraft.plans import Plan, TrainStage

SHORTEST = 0.2
"""A fifth of a plan's steps, below which what comes of it says little of the plan."""


def steps_of(plan: Plan, stage: TrainStage, train: int) -> int | None:
    """Optimiser steps of a stage with ``train`` training examples; None where only time ends it.

    An epoch is a pass over the stage's first stream, whose length is known where it reads the target.
    """
    leading = plan.streams[stage.terms[0].streams[0]]
    limits = [stage.stop.steps] if stage.stop.steps else []
    if stage.stop.epochs and leading.reads == "target":
        per_epoch = -(-train // (leading.batch * stage.optimiser.accumulate))
        limits.append(stage.stop.epochs * per_epoch)
    return min(limits) if limits else None


def shortened(plan: Plan, share: float, *, train: int) -> Plan:
    """The plan whose train stages take this share of their steps; rates fall in as many fewer."""
    if share >= 1:
        return plan

    def shorter(stage: TrainStage) -> TrainStage:
        steps = steps_of(plan, stage, train)
        changes: dict[str, float] = {} if steps is None else {"steps": max(1, math.floor(steps * share))}
        if stage.stop.seconds is not None:
            changes["seconds"] = stage.stop.seconds * share
        return stage.model_copy(update={"stop": stage.stop.model_copy(update=changes)})

    return _with_trains(plan, shorter)


def for_fold(plan: Plan, share: float) -> Plan:
    """The plan for this share of its labels: where steps end a stage, so many fewer, as many passes."""

    def scaled(stage: TrainStage) -> TrainStage:
        if not stage.stop.steps:
            return stage
        steps = max(1, round(stage.stop.steps * share))
        return stage.model_copy(update={"stop": stage.stop.model_copy(update={"steps": steps})})

    return _with_trains(plan, scaled)


def _with_trains(plan: Plan, change: Callable[[TrainStage], TrainStage]) -> Plan:
    stages = tuple(change(stage) if isinstance(stage, TrainStage) else stage for stage in plan.stages)
    return plan.model_copy(update={"stages": stages})
