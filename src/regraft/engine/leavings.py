"""Leavings: the weights that stages left, kept for the averages that name them.

A leaving holds only those tensors that differ from the linked model; the rest is taken from one copy of the
models as they were linked. ``initial`` is the linked model with the heads that the first stage on it left:
a head that nothing has fitted yet says nothing that could be averaged.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from regraft.engine.checkpoint import Checkpoint, Tensors
from regraft.linking import Grafted
from regraft.plans import AverageStage, Plan

INITIAL = "initial"
_GROUP = "left."
_HEADS = "heads."


class Leavings:
    """What the stages of a plan left so far, as far as an average stage still asks for it.

    Parameters
    ----------
    models
        As linked, by the plan's names; nothing may have moved yet.
    """

    def __init__(self, plan: Plan, models: Mapping[str, Grafted]):
        self._plan, self._models = plan, models
        named = {stage.name: stage.model for stage in plan.stages}
        pairs = [(of, one.model) for one in _averages(plan) for of in one.of]
        owners = {owner for of, model in pairs for owner in (named.get(of, model), model)}
        self._start = {name: _copy(dict(models[name].state_dict())) for name in sorted(owners)}
        self._left: dict[str, Tensors] = {}

    def leave(self, index: int) -> None:
        """Keep what the stage of this number left, and forget what no stage behind it asks for."""
        stage = self._plan.stages[index]
        model = stage.model
        wanted = self._wanted_behind(index)
        if model in self._start:
            state = dict(self._models[model].state_dict())
            first = all(one.model != model for one in self._plan.stages[:index])
            if first:
                self._left[_initial(model)] = _copy(
                    {name: value for name, value in state.items() if name.startswith(_HEADS)}
                )
            self._left[stage.name] = _copy(
                {name: value for name, value in state.items() if not self._as_linked(model, name, value)}
            )
        self._left = {name: left for name, left in self._left.items() if name in wanted}

    def weights(self, stage: str, model: str) -> Tensors:
        """All tensors that a stage left, or those of the ``initial`` model; to be read, never written to."""
        name = _initial(model) if stage == INITIAL else stage
        owner = next((one.model for one in self._plan.stages if one.name == stage), model)
        left = self._left.get(name, {}) if stage == INITIAL else self._left[name]
        return {**self._start[owner], **left}

    def linked(self, model: str) -> Tensors:
        """The model's tensors as it was linked; to be read, never written to."""
        return self._start[model]

    def tensors(self) -> dict[str, Tensors]:
        """As groups of a checkpoint."""
        return {f"{_GROUP}{self._number(name)}": left for name, left in self._left.items()}

    def restore(self, checkpoint: Checkpoint) -> None:
        """Put back what the stages in front of the checkpoint's left."""
        done = self._plan.stages[: checkpoint.state["stage"]]
        names = {stage.name for stage in done} | {_initial(stage.model) for stage in done}
        wanted = self._wanted_behind(len(done) - 1)
        self._left = {
            name: self._placed(name, checkpoint.tensors.get(f"{_GROUP}{self._number(name)}", {}))
            for name in sorted(names & wanted)
        }

    def _wanted_behind(self, index: int) -> set[str]:
        behind = [stage for stage in self._plan.stages[index + 1 :] if isinstance(stage, AverageStage)]
        return {_initial(one.model) if of == INITIAL else of for one in behind for of in one.of}

    def _as_linked(self, model: str, name: str, value: torch.Tensor) -> bool:
        before = self._start[model].get(name)
        return before is not None and before.shape == value.shape and torch.equal(before, value)

    def _placed(self, name: str, tensors: Tensors) -> Tensors:
        """On the device of their model."""
        stages = {stage.name: stage.model for stage in self._plan.stages}
        model = stages.get(name) or next(one for one in self._models if _initial(one) == name)
        device = next(self._models[model].parameters()).device
        return {key: value.to(device) for key, value in tensors.items()}

    def _number(self, name: str) -> str:
        """How a checkpoint calls it: names of stages may hold anything, file names may not."""
        names = [stage.name for stage in self._plan.stages] + [_initial(one) for one in self._plan.models]
        return str(names.index(name))


def _averages(plan: Plan) -> list[AverageStage]:
    return [stage for stage in plan.stages if isinstance(stage, AverageStage)]


def _initial(model: str) -> str:
    """Its own name among the stages': none of theirs holds a line break."""
    return f"{INITIAL}\n{model}"


def _copy(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    return {name: value.detach().clone() for name, value in tensors.items()}
