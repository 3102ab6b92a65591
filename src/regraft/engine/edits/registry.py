"""What the names of edits in a plan mean."""

from __future__ import annotations

from regraft.core.errors import PlanError
from regraft.core.spelling import did_you_mean
from regraft.engine.edits.adapter import Adapter
from regraft.engine.edits.edit import Edit, options_of
from regraft.engine.edits.ia3 import IA3
from regraft.engine.edits.lora import DoRA, LoRA
from regraft.engine.edits.parallel import Parallel
from regraft.engine.edits.stochnorm import StochNorm
from regraft.plans import EditSpec, Plan, TrainStage

EDITS: dict[str, type[Edit]] = {kind.name: kind for kind in (LoRA, DoRA, IA3, Adapter, Parallel, StochNorm)}


def find_edit(spec: EditSpec) -> Edit:
    """The edit that a plan asks for, or a :class:`PlanError` that lists what there is."""
    if spec.edit not in EDITS:
        there = ", ".join(EDITS)
        raise PlanError(
            f"no edit is called {spec.edit!r}; there are: {there}{did_you_mean(spec.edit, EDITS)}"
        )
    return EDITS[spec.edit](options_of(spec))


def check_edits(stage: TrainStage) -> None:
    """Raise :class:`PlanError` for edits of a stage that cannot be made, whatever the network."""
    for spec in stage.edits:
        find_edit(spec).check_stage(stage)
        if spec.model != stage.model:
            raise PlanError(
                f"stage {stage.name!r} trains {stage.model!r} and edits {spec.model!r}: a stage edits the "
                "model that it trains; moving averages of it are edited with it"
            )


def edits_at(plan: Plan, stage: TrainStage) -> tuple[EditSpec, ...]:
    """What is edited while a stage of a plan runs: its own edits behind those of earlier stages that last."""
    before = plan.stages[: plan.stages.index(stage)]
    lasting = (
        spec
        for one in before
        if isinstance(one, TrainStage) and one.model == stage.model
        for spec in one.edits
        if find_edit(spec).lasts
    )
    return (*lasting, *stage.edits)
