"""What the models beside the one that is trained cost: frozen sources, teachers, moving averages.

The rules are those of :mod:`regraft.engine.companions`: what is frozen is computed once where examples are
read as they are, or in views that are kept; else it is run in every step, as a moving average always is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from regraft.core.errors import RegraftError
from regraft.plans import ModelSpec, Plan, SolveStage, TrainStage
from regraft.sources import build_trunk, find_network
from regraft.targets import Target, prepare


@dataclass(frozen=True)
class Beside:
    """One model of a plan beside its student.

    Attributes
    ----------
    seconds
        Of one forward pass, for one example.
    weights
        Bytes of its tensors.
    """

    seconds: float
    weights: int


def measure_beside(plan: Plan, few: Target, student: Beside) -> dict[str, Beside]:
    """Every other model of a plan, timed on a few examples where its network is not the student's.

    A network that only its owner's code builds is taken to be as fast as the student's.
    """
    alike = _network(plan.models["student"])
    found = {}
    for name, spec in plan.models.items():
        if name == "student":
            continue
        same = spec.average_of is not None or _network(spec) == alike
        found[name] = student if same else (_measured(spec, few) or student)
    return found


def _network(spec: ModelSpec) -> tuple[object, ...]:
    """What two models have in common that compute alike."""
    return spec.source, spec.options, spec.network, spec.network_options


def _measured(spec: ModelSpec, few: Target) -> Beside | None:
    if spec.network:
        return None
    try:
        source = find_network(spec.source, **spec.options)
        trunk = build_trunk(source).eval()
        inputs = prepare(few, source.preprocessing, max_unreadable=1.0).inputs
    except RegraftError:  # opening the plan's models says why; a price does not need it
        return None
    batch = inputs.batch(np.arange(len(np.asarray(inputs.owners))))

    def run() -> None:
        with torch.inference_mode():
            trunk(batch)

    weights = sum(value.numel() * value.element_size() for value in trunk.state_dict().values())
    return Beside(timed(run) / len(inputs), weights)


def timed(work: Callable[[], None]) -> float:
    """Seconds of the second of two calls: the first one pays for allocation."""
    work()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@dataclass
class Bill:
    """Seconds of the models beside the student: ``once``, and by stage what its steps take for them."""

    once: float = 0.0
    steps: dict[str, float] = field(default_factory=dict)


def price_beside(
    plan: Plan,
    models: dict[str, Beside],
    *,
    train: int,
    held: int,
    epochs: Callable[[TrainStage], float],
    behind: Callable[[TrainStage], float],
) -> Bill:
    """What they take for ``train`` and ``held`` examples.

    ``epochs`` of a stage is how often it reads the training examples, ``behind`` the seconds of one example
    behind its frozen prefix.
    """
    bill = Bill()
    solved = {stage.model for stage in plan.stages if isinstance(stage, SolveStage)}
    bill.once += sum(models[name].seconds * (train + held) for name in solved if name in models)
    passes: dict[str, int] = {}
    for stage in (one for one in plan.stages if isinstance(one, TrainStage)):
        for name, stream in _pairs(stage):
            if plan.models[name].average_of == stage.model:
                each = behind(stage)
            elif _computed_once(plan, stage, stream):
                views = plan.streams[stream].views
                passes[name] = max(passes.get(name, 0), views or int(name not in solved))
                continue
            else:
                each = models[name].seconds
            bill.steps[stage.name] = bill.steps.get(stage.name, 0.0) + each * train * epochs(stage)
    bill.once += sum(models[name].seconds * train * count for name, count in passes.items())
    return bill


def _pairs(stage: TrainStage) -> dict[tuple[str, str], None]:
    """The models that the stage's terms read beside its own, each with a stream."""
    return dict.fromkeys(
        (model, stream)
        for term in stage.terms
        for model in term.models
        for stream in term.streams
        if model != stage.model
    )


def _computed_once(plan: Plan, stage: TrainStage, stream: str) -> bool:
    """Whether the stream shows a frozen model the same again."""
    spec = plan.streams[stream]
    mixed = (spec.mix.mixup > 0 or spec.mix.cutmix > 0) and stage.frozen_prefix is None
    return not mixed and (spec.views == 0 or stage.frozen_prefix is not None)
