"""The terms of a train stage, made from its plan and checked against tasks and streams."""

from __future__ import annotations

from collections.abc import Mapping

from regraft.core.errors import PlanError
from regraft.engine.weights import WeightedTerm
from regraft.plans import Plan, TermSpec, TrainStage
from regraft.plans.schema import Learned
from regraft.tasks import Task
from regraft.terms import check_combine_rule, find_term


def make_terms(stage: TrainStage) -> tuple[WeightedTerm, ...]:
    """The stage's terms. Raises :class:`PlanError` for what no definition exists for."""
    check_combine_rule(stage.combine.rule)
    if stage.edits:
        raise PlanError(
            f"stage {stage.name!r} edits the network ({stage.edits[0].edit}); there are no edits yet"
        )
    if not stage.terms:
        raise PlanError(f"stage {stage.name!r} has no terms, so there is nothing to minimise")
    return tuple(_make_term(spec, stage) for spec in stage.terms)


def _make_term(spec: TermSpec, stage: TrainStage) -> WeightedTerm:
    if isinstance(spec.weight, Learned):
        raise PlanError(
            f"the term {spec.computes!r} has a learned weight ({spec.weight.learned}); there is none yet"
        )
    models = spec.models or (stage.model,)
    if models != (stage.model,):
        raise PlanError(
            f"the term {spec.computes!r} reads the models {', '.join(models)}; "
            f"a stage runs one, {stage.model}"
        )
    term = find_term(spec.computes)(
        models=models, streams=spec.streams, outputs=spec.outputs, options=spec.options
    )
    return WeightedTerm(term, spec.weight)


def check_terms(plan: Plan, tasks: Mapping[str, Task]) -> None:
    """Raise :class:`PlanError` for terms that cannot be computed for these outputs, or from their streams."""
    for stage in plan.stages:
        for weighted in make_terms(stage) if isinstance(stage, TrainStage) else ():
            term = weighted.term
            term.check(tasks)
            if not term.streams:
                raise PlanError(f"the term {term.name!r} of stage {stage.name!r} reads no stream: name one")
            specs = {name: plan.streams[name] for name in term.streams}
            bare = [n for n, spec in specs.items() if not spec.labelled or spec.reads == "unlabelled"]
            if term.reads_labels and bare:
                raise PlanError(
                    f"the term {term.name!r} of stage {stage.name!r} reads labels, and the stream "
                    f"{', '.join(bare)} has none: use a term that needs none (entropy), or labelled data"
                )
