"""The terms of a train stage, made from its plan and checked against tasks and streams."""

from __future__ import annotations

from collections.abc import Mapping

from regraft.core.errors import PlanError
from regraft.engine.alignment import learned_weight
from regraft.engine.stream_data import StreamData
from regraft.engine.weights import WeightedTerm
from regraft.plans import Plan, TermSpec, TrainStage
from regraft.plans.schema import Learned
from regraft.tasks import Task
from regraft.terms import Term, find_term, make_combine_rule


def make_terms(
    stage: TrainStage,
    tasks: Mapping[str, Task] | None = None,
    others: Mapping[str, StreamData] | None = None,
) -> tuple[WeightedTerm, ...]:
    """The stage's terms, for the run's own outputs and those of other data.

    Raises :class:`PlanError` for what no definition exists for.
    """
    make_combine_rule(stage.combine.rule, stage.combine.options)
    if not stage.terms:
        raise PlanError(f"stage {stage.name!r} has no terms, so there is nothing to minimise")
    return tuple(_make_term(spec, stage, tasks or {}, others or {}) for spec in stage.terms)


def _make_term(
    spec: TermSpec, stage: TrainStage, tasks: Mapping[str, Task], others: Mapping[str, StreamData]
) -> WeightedTerm:
    models = spec.models or (stage.model,)
    if models[0] != stage.model:
        raise PlanError(
            f"the term {spec.computes!r} of stage {stage.name!r} reads the models {', '.join(models)}, and "
            f"the stage trains {stage.model!r}: name that one first, as in models: [{stage.model}, ..]"
        )
    term = find_term(spec.computes)(
        models=models, streams=spec.streams, outputs=spec.outputs, options=spec.options
    )
    if isinstance(spec.weight, Learned):
        numbers = _numbers(term, tasks_of(term, tasks, others))
        return WeightedTerm(term, learned_weight(spec.weight, numbers=numbers))
    return WeightedTerm(term, spec.weight)


def _numbers(term: Term, tasks: Mapping[str, Task]) -> bool:
    """Whether a term looks at outputs of numbers alone."""
    looked = [tasks[name] for name in term.looked_at(tasks) if name in tasks]
    return bool(looked) and all(task.spec.kind == "regression" for task in looked)


def tasks_of(term: Term, tasks: Mapping[str, Task], others: Mapping[str, StreamData]) -> Mapping[str, Task]:
    """The outputs that a term may look at: its first stream's own ones, or the run's."""
    data = others.get(term.streams[0]) if term.streams else None
    return data.tasks if data is not None and data.tasks else tasks


def check_terms(plan: Plan, tasks: Mapping[str, Task], others: Mapping[str, StreamData]) -> None:
    """Raise :class:`PlanError` for terms that cannot be computed for these outputs, or from their streams."""
    for stage in plan.stages:
        for weighted in make_terms(stage) if isinstance(stage, TrainStage) else ():
            term = weighted.term
            term.check(tasks_of(term, tasks, others))
            if not term.streams:
                raise PlanError(f"the term {term.name!r} of stage {stage.name!r} reads no stream: name one")
            specs = {name: plan.streams[name] for name in term.streams}
            bare = [n for n, spec in specs.items() if not spec.labelled or spec.reads == "unlabelled"]
            if term.reads_labels and bare:
                raise PlanError(
                    f"the term {term.name!r} of stage {stage.name!r} reads labels, and the stream "
                    f"{', '.join(bare)} has none: use a term that needs none (entropy), or labelled data"
                )
