"""An average stage: weights from the weights that earlier stages left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from regraft.core.errors import PlanError
from regraft.engine.forward import Forward
from regraft.engine.frozen import open_frozen
from regraft.engine.norm_statistics import norm_layers, recompute
from regraft.engine.patterns import HEAD, block_of
from regraft.engine.validation import validate
from regraft.engine.workspace import Workspace
from regraft.linking import Grafted
from regraft.plans import AverageStage, TrainStage
from regraft.terms import AverageRule, Judged, Weights, find_average

STATISTICS = ("auto", "recompute", "average")


def make_rule(stage: AverageStage) -> AverageRule:
    """The stage's rule. Raises :class:`PlanError` for what no definition exists for.

    ``norm_statistics`` among the options is the engine's: ``auto`` collects the statistics of batch norm anew
    where they differ in what is averaged, ``recompute`` wherever a stage moved them, ``average`` averages
    them like all other numbers.
    """
    options = dict(stage.options)
    statistics = options.pop("norm_statistics", STATISTICS[0])
    if statistics not in STATISTICS:
        raise PlanError(
            f"stage {stage.name!r} has norm_statistics={statistics!r}; there are {', '.join(STATISTICS)}"
        )
    rule = find_average(stage.rule)(options)
    rule.check(stage.of)
    return rule


def run_average_stage(stage: AverageStage, work: Workspace) -> None:
    """Average what the stages left, write it into the model, and log what was tried."""
    assert work.leavings is not None
    with work.spending(stage.name):
        whole = {name: work.leavings.weights(name, stage.model) for name in stage.of}
        bench = _Bench(stage, work, whole)
        found = make_rule(stage)(bench.ingredients, bench.judge, bench.blocks)
        bench.put(found.weights)
        left = validate(bench.forward, work)
        work.history.add(
            {
                "stage": stage.name,
                "kind": "average",
                "rule": stage.rule,
                "of": list(stage.of),
                **found.history,
                "validation": left.to_json(),
            }
        )
        work.processes.spread([*work.models[stage.model].state_dict().values()])


class _Bench:
    """The model of a stage, on which averages are put and judged.

    Attributes
    ----------
    ingredients
        By stage, the tensors in which they differ from each other.
    blocks
        To which block each of these belongs, stem to head.
    """

    def __init__(self, stage: AverageStage, work: Workspace, whole: Mapping[str, Mapping[str, Tensor]]):
        self.work, self.model, self.stage = work, work.models[stage.model], stage
        _check_alike(stage, self.model, whole)
        names = _differing([*whole.values()])
        self.ingredients: dict[str, Weights] = {
            of: {name: state[name] for name in names} for of, state in whole.items()
        }
        self.blocks = by_block(self.model, names)
        last = whole[stage.of[-1]]
        self.model.load_state_dict(last)
        statistics = stage.options.get("norm_statistics", "auto")
        assert work.leavings is not None
        moved = _differing([work.leavings.linked(stage.model), last]) if statistics == "recompute" else names
        self.norms = [] if statistics == "average" else norm_layers(self.model, moved)
        # Of weights that one stage left as they are, its own statistics are the right ones.
        self.always = statistics == "recompute"
        cut = _cut(stage, work, names | (moved if self.norms else frozenset()))
        read = np.concatenate([work.draw.validation, work.draw.train if self.norms else work.draw.train[:0]])
        frozen = open_frozen(work, stage.model, cut, (), also=read)
        self.forward = Forward(self.model, work.inputs, work.device, frozen, cut=cut)

    def put(self, weights: Weights) -> None:
        """Write weights into the model; statistics of batch norm that fit them none had are collected."""
        self.model.load_state_dict(dict(weights), strict=False)
        if self.norms and (self.always or not self._is_ingredient(weights)):
            recompute(self.forward, self.norms, self.work.draw.train)

    def judge(self, weights: Weights) -> Judged:
        """See :data:`regraft.terms.averages.Judge`."""
        self.put(weights)
        found = validate(self.forward, self.work)
        losses = ("loss", "calibrated loss")
        metrics = {name: value for name, value in found.to_json().items() if name not in losses}
        return Judged(found.by(self.stage.measure), metrics)

    def _is_ingredient(self, weights: Weights) -> bool:
        """Whether some stage left just these, and its own statistics with them."""
        return any(
            all(torch.equal(value, one[name]) for name, value in weights.items())
            for one in self.ingredients.values()
        )


def _check_alike(stage: AverageStage, model: Grafted, whole: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Raise :class:`PlanError` unless all that is averaged has the tensors of the stage's model."""
    expected = {name: value.shape for name, value in model.state_dict().items()}
    for of, state in whole.items():
        shapes: dict[str, Any] = {name: value.shape for name, value in state.items()}
        if shapes != expected:
            wrong = sorted(name for name in {*shapes, *expected} if shapes.get(name) != expected.get(name))
            raise PlanError(
                f"stage {stage.name!r} averages weights of {stage.model!r}, and those that {of!r} left have "
                f"other tensors: {', '.join(wrong[:4])}. Average stages of models with one network and heads "
                "of one kind"
            )


def by_block(model: Grafted, names: frozenset[str]) -> list[tuple[str, frozenset[str]]]:
    """Tensors of a model by the block that owns them, stem to head; blocks that own none are left out."""
    owners = {name: block_of(model, name) for name in names}
    groups = [
        (block, frozenset(name for name, owner in owners.items() if owner == block))
        for block in (*model.trunk.block_names, HEAD)
    ]
    return [(block, owned) for block, owned in groups if owned]


def _differing(states: list[Mapping[str, Tensor]]) -> frozenset[str]:
    """Names of the tensors that are not the same in all."""
    first, *rest = states
    return frozenset(
        name for name, value in first.items() if any(not torch.equal(value, one[name]) for one in rest)
    )


def _cut(stage: AverageStage, work: Workspace, moving: frozenset[str]) -> int:
    """How many blocks are run once for all that is tried: those that a train stage of the model keeps too.

    Its activations are then read again. None where all of them hold something that differs.
    """
    trunk = work.models[stage.model].trunk
    prefix = "trunk.network."
    inside = {trunk.block_of(name.removeprefix(prefix)) for name in moving if name.startswith(prefix)}
    free = next((i for i, name in enumerate(trunk.block_names) if name in inside), len(trunk.blocks))
    kept = [
        trunk.cut_after(one.frozen_prefix)
        for one in work.plan.stages
        if isinstance(one, TrainStage) and one.model == stage.model and one.frozen_prefix is not None
    ]
    return max((cut for cut in kept if cut <= free), default=free)
