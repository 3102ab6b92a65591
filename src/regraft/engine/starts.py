"""Starts: what the links gave to models, kept where a term of the plan compares with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from regraft.core.task_spec import TaskSpec
from regraft.engine.patterns import matches
from regraft.linking import Grafted, Link
from regraft.plans import Plan, TrainStage
from regraft.terms import find_term


@dataclass(frozen=True)
class Start:
    """How one model began.

    Attributes
    ----------
    carried
        Names of its parameters that receive source weights, in part or whole.
    specs
        By output, what its heads are for.
    tensors
        Copies of its parameters as they were linked, of those that a stage with such a term trains. They come
        from the link again when a run goes on, so that no checkpoint has to hold them.
    """

    carried: frozenset[str] = frozenset()
    specs: Mapping[str, TaskSpec] = field(default_factory=dict)
    tensors: Mapping[str, Tensor] = field(default_factory=dict)


def remember_start(plan: Plan, name: str, model: Grafted, link: Link) -> Start:
    """How the model called ``name`` begins; called before anything moves."""
    carried = frozenset(row.target for row in link.rows if row.carried and row.kind == "parameter")
    kept = {
        parameter: value.detach().clone()
        for parameter, value in model.named_parameters()
        if any(matches(model, parameter, stage.trainable) for stage in _comparing(plan, name))
    }
    return Start(carried, {task.spec.name: task.spec for task in link.graft.tasks}, kept)


def _comparing(plan: Plan, model: str) -> list[TrainStage]:
    """The stages that train a model and compare it with its start."""
    return [
        stage
        for stage in plan.stages
        if isinstance(stage, TrainStage)
        and stage.model == model
        and any("start" in find_term(term.computes).needs for term in stage.terms)
    ]
