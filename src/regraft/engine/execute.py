"""Executing a plan, stage by stage, from the start or from a checkpoint."""

from __future__ import annotations

from typing import Any

from regraft.core.console import say
from regraft.core.errors import PlanError, ResumeError
from regraft.engine.average_stage import make_rule, run_average_stage
from regraft.engine.checkpoint import Checkpoint, Tensors
from regraft.engine.edits import check_edits
from regraft.engine.leavings import Leavings
from regraft.engine.movement import Movement
from regraft.engine.moving_average import check_averages
from regraft.engine.sets import trained_sets
from regraft.engine.solve_stage import check_solving, run_solve_stage
from regraft.engine.stage_terms import make_terms
from regraft.engine.train_stage import TrainStageRun
from regraft.engine.workspace import Workspace
from regraft.plans import AverageStage, Plan, SolveStage, Stage, TrainStage, plan_hash
from regraft.sources import AddedLayers


def check_plan(plan: Plan) -> None:
    """Raise :class:`PlanError` for anything in a plan that has no definition, before anything is run."""
    _check_models(plan)
    check_solving(plan)
    for stage in plan.stages:
        if stage.reads or stage.produces:
            names = ", ".join((*stage.reads, *stage.produces))
            raise PlanError(f"stage {stage.name!r} passes artefacts on ({names}); no stage makes any yet")
        try:
            _check_stage(stage)
        except PlanError as error:
            where = f"stage {stage.name!r}"
            raise error if where in str(error) else PlanError(f"{where}: {error}") from error


def _check_stage(stage: Stage) -> None:
    if isinstance(stage, AverageStage):
        make_rule(stage)
    elif isinstance(stage, TrainStage):
        make_terms(stage)
        check_edits(stage)


def execute(work: Workspace) -> None:
    """Run all stages of ``work.plan``; the models in ``work`` are changed in place.

    With ``work.checkpoints``, goes on from the newest checkpoint and writes new ones. The result is the same
    to the bit, however often it was stopped, on one backend, number of threads and batch size.
    """
    check_plan(work.plan)
    work.movement = Movement(work.models) if work.checkpoints else None
    work.leavings = Leavings(work.plan, work.models)
    checkpoint = work.checkpoints.newest() if work.checkpoints else None
    first = _restore(work, checkpoint) if checkpoint else 0
    if checkpoint is None:
        work.history.rewind(0)
    for index in range(first, len(work.plan.stages)):
        inside = checkpoint if checkpoint and checkpoint.state["inside"] and index == first else None
        _run_stage(index, work, inside)
        work.leavings.leave(index)
        if work.movement:
            work.movement.look()
        _save(work, {"stage": index + 1, "inside": False}, {})


def _check_models(plan: Plan) -> None:
    if "student" not in plan.models:
        raise PlanError(f"a plan has to have a model called 'student'; it has {', '.join(plan.models)}")
    for name, spec in plan.models.items():
        trains = [stage.name for stage in plan.stages if stage.model == name]
        if spec.heads == "source" and (name == "student" or trains):
            raise PlanError(
                f"the model {name!r} has its source's own heads (heads: source), which no stage trains"
                f"{f', and {trains[0]!r} does' if trains else ''}: give it the target's (heads: target)"
            )
    check_averages(plan)


def _run_stage(index: int, work: Workspace, checkpoint: Checkpoint | None) -> None:
    stage = work.plan.stages[index]
    work = work.seen_by(stage.model)
    if isinstance(stage, SolveStage):
        run_solve_stage(stage, work)
        return
    if isinstance(stage, AverageStage):
        run_average_stage(stage, work)
        return

    def save(facts: dict[str, Any], tensors: dict[str, Tensors]) -> None:
        _save(work, {"stage": index, "inside": True, **facts}, tensors)

    with work.spending(stage.name):
        run = TrainStageRun(stage, work, save if work.checkpoints else None)
        if work.checkpoints:
            say(str(trained_sets(stage, run.model, run.freeze)))
        if work.movement:
            _expect(stage, run.moving_names, work)
        if checkpoint:
            run.restore(checkpoint)
            _compare_backends(checkpoint, work)
        run.run()
        if run.moved:
            work.moved.add(stage.model)


def _compare_backends(checkpoint: Checkpoint, work: Workspace) -> None:
    """Say where the frozen layers of the stage run on another backend than before."""
    then, now = checkpoint.state["backends"], list(work.backends)
    if then and now and not set(now) <= set(then):
        say(
            f"The frozen layers ran on {', '.join(then)} before and run on {', '.join(now)} now: the run "
            "goes on, but its bits are no longer promised to be those of an uninterrupted one."
        )


def _expect(stage: TrainStage, moving: frozenset[str], work: Workspace) -> None:
    """Tell what the stage is going to move: in its own model, and in those that are averages of it."""
    assert work.movement is not None
    work.movement.expect(stage.model, moving)
    for name, spec in work.plan.models.items():
        if spec.average_of == stage.model:
            work.movement.expect(name, work.movement.moved(stage.model))


def _save(work: Workspace, facts: dict[str, Any], tensors: dict[str, Tensors]) -> None:
    if work.checkpoints is None or work.movement is None or work.leavings is None:
        return
    work.history.sync()
    state = {
        **facts,
        "plan": plan_hash(work.plan),
        "data": work.target.fingerprint,
        "streams": {name: data.fingerprint for name, data in work.others.items()},
        "history": len(work.history.lines),
        "trained": sorted(work.trained),
        "moved": sorted(work.moved),
        "merged": work.merged,
        "seconds": work.seconds,
        "rest": work.movement.facts(),
        "heads": {name: model.own_heads() for name, model in work.models.items()},
        "added": {
            name: [layers.to_json() for layers in model.trunk.added] for name, model in work.models.items()
        },
        "backends": list(work.backends),
        "notes": work.notes,
    }
    work.checkpoints.write(state, {**work.movement.tensors(), **work.leavings.tensors(), **tensors})


def _restore(work: Workspace, checkpoint: Checkpoint) -> int:
    """Put models and records back; returns the stage to go on with."""
    state = checkpoint.state
    if state["plan"] != plan_hash(work.plan):
        raise ResumeError(
            "the plan has changed since the checkpoint was written. Put it back, or fit into a new folder."
        )
    if state["data"] != work.target.fingerprint:
        raise ResumeError(
            "the data have changed since the checkpoint was written. Put them back, or fit into a new folder."
        )
    changed = [n for n, data in work.others.items() if state["streams"].get(n) != data.fingerprint]
    if changed:
        raise ResumeError(
            f"the data of the stream {', '.join(changed)} have changed since the checkpoint was written. Put "
            "them back, or fit into a new folder."
        )
    assert work.movement is not None
    assert work.leavings is not None
    for name, heads in state.get("heads", {}).items():
        work.models[name].replace_heads(heads, {output: task.spec for output, task in work.tasks.items()})
    for name, added in state.get("added", {}).items():
        trunk = work.models[name].trunk
        for layers in added[len(trunk.added) :]:
            trunk.add(AddedLayers.from_json(layers))
    work.movement.restore(checkpoint)
    work.leavings.restore(checkpoint)
    work.history.rewind(state["history"])
    work.trained.update(state["trained"])
    work.moved.update(state.get("moved", ()))
    work.merged.update(state.get("merged", {}))
    work.seconds.update(state["seconds"])
    work.notes[:] = state.get("notes", [])
    return int(state["stage"])
