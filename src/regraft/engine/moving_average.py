"""Moving averages: models that follow another one step by step and change more slowly than it does.

After optimiser step t (counted from 0 within the stage)

    a <- d a + (1 - d) w,   d = min(decay, (1 + t) / (10 + t)),

for everything that the stage trains: weights, and also the statistics of batch norm and whatever other
numbers its layers keep, so that the average's statistics fit its weights. Whole numbers (counters)
are taken as they are. The average begins every train stage as a copy of the model that it follows. Frozen
tensors are equal in both, to the bit, so both read the same kept activations.

An *equal* average is the plain mean of the weights after all steps of a stage, or after those behind the
share ``begin`` of them: after the n-th of these

    a <- a + (w - a) / n.

Before it is a copy.

Sources: Polyak & Juditsky 1992; Tarvainen & Valpola 2017 (mean teacher); Izmailov et al. 2018 (SWA, equal
averages). The short memory at first is that of TensorFlow's ``ExponentialMovingAverage``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from regraft.core.errors import PlanError
from regraft.engine.freezing import Freeze
from regraft.engine.workspace import Workspace
from regraft.linking import Grafted
from regraft.plans import AverageStage, ModelSpec, Plan, TrainStage

DECAY = 0.999


def decay_at(decay: float, step: int) -> float:
    """The decay after a step: the one that was asked for, or less where there were few steps."""
    return min(decay, (1 + step) / (10 + step))


@dataclass(frozen=True)
class MovingAverage:
    """One model that follows another one.

    Attributes
    ----------
    name
        What the plan calls it.
    moving
        Names of the tensors of its state that the stage may change.
    first
        Of an equal average: the first step that counts; None for one that fades.
    """

    name: str
    model: Grafted
    followed: Grafted
    decay: float
    moving: frozenset[str]
    first: int | None = None

    @torch.no_grad()
    def begin(self) -> None:
        """Become a copy of the model that it follows."""
        self.model.load_state_dict(self.followed.state_dict())
        self.model.requires_grad_(False).eval()

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Move towards the model as it is after a step."""
        share = self._share(step)
        theirs = self.followed.state_dict()
        for name, mine in self.model.state_dict().items():
            if name in self.moving:
                _towards(mine, theirs[name], share)

    def _share(self, step: int) -> float:
        """How far it goes towards the model after a step."""
        if self.first is None:
            return 1 - decay_at(self.decay, step)
        return 1 / max(step - self.first + 1, 1)


def _towards(mine: Tensor, theirs: Tensor, share: float) -> None:
    if mine.is_floating_point():
        mine.lerp_(theirs.to(mine.dtype), share)
    else:
        mine.copy_(theirs)


def check_averages(plan: Plan) -> None:
    """Raise :class:`PlanError` for moving averages that cannot follow what they name."""
    for name, spec in plan.models.items():
        if spec.average_of is None:
            continue
        other = plan.models[spec.average_of]
        if name == "student":
            raise PlanError("the model 'student' is what a run leaves: let another model be its average")
        if spec.source and (spec.source, spec.network) != (other.source, other.network):
            raise PlanError(
                f"the model {name!r} is the average of {spec.average_of!r} and has its network: leave its "
                "source out"
            )
    for stage in plan.stages:
        if not isinstance(stage, AverageStage) and plan.models[stage.model].average_of is not None:
            raise PlanError(
                f"stage {stage.name!r} trains {stage.model!r}, which follows "
                f"{plan.models[stage.model].average_of!r}: train that one"
            )
        judge = stage.stop.judge if isinstance(stage, TrainStage) else None
        if judge is not None and plan.models[judge].average_of != stage.model:
            raise PlanError(
                f"stage {stage.name!r} trains {stage.model!r} and is judged by {judge!r}, the average of "
                f"{plan.models[judge].average_of!r}: name an average of {stage.model!r}"
            )


def open_averages(
    work: Workspace, model: str, freeze: Freeze, steps: int | None
) -> tuple[MovingAverage, ...]:
    """The averages of a model in a stage that trains what ``freeze`` leaves free, in so many steps."""
    followed = work.models[model]
    moving = frozenset(followed.state_dict()) - frozenset(freeze.frozen_tensors(followed))
    averages = []
    for name, spec in work.plan.models.items():
        if spec.average_of == model:
            average = work.models[name].requires_grad_(False).eval()
            decay = DECAY if spec.decay is None else spec.decay
            first = _first(name, spec, steps) if spec.average == "equal" else None
            averages.append(MovingAverage(name, average, followed, decay, moving, first))
    return tuple(averages)


def _first(name: str, spec: ModelSpec, steps: int | None) -> int:
    """The first step of a stage that counts for an equal average."""
    if steps is None and spec.begin > 0:
        raise PlanError(
            f"the average {name!r} begins at a share of the steps, and only time ends the stage: give it "
            "epochs or steps"
        )
    return math.ceil(spec.begin * (steps or 0))


def judged_model(stage: TrainStage, work: Workspace) -> Grafted:
    """The model whose validation loss decides: the stage's own, or the average that judges it."""
    return work.models[stage.stop.judge or stage.model]
