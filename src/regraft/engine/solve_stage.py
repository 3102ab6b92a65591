"""A solve stage: closed forms and convex problems on frozen features, and what makes heads' logits true."""

from __future__ import annotations

from collections.abc import Sequence

from regraft.core.errors import PlanError
from regraft.engine.solve_rows import Rows, of_output, open_rows
from regraft.engine.workspace import Workspace
from regraft.linking.grafted import head_key
from regraft.plans import Plan, SolveStage
from regraft.tasks import Task
from regraft.terms import CALIBRATIONS, KEEPS_EXAMPLES, check_solver, find_solver


def run_solve_stage(stage: SolveStage, work: Workspace) -> None:
    """Fit the heads of the stage's outputs and write them into the model, or calibrate those it has.

    The choice along the grid is made on the training examples alone; with ``refit`` the chosen one is fitted
    once more on train and validation together. What calibrates reads the validation examples, to which no
    head was fitted. One that runs only ``unmoved`` leaves a model that was trained as it is.
    """
    if stage.when == "unmoved" and stage.model in work.moved:
        return
    if stage.solver in CALIBRATIONS:
        _calibrate(stage, work)
    else:
        _solve(stage, work)
    # In every process, what the first one found.
    work.processes.spread([*work.models[stage.model].heads.state_dict().values()])


def check_solving(plan: Plan) -> None:
    """Raise :class:`PlanError` for solve stages that do not exist, or that what comes next cannot follow."""
    refitted: dict[str, str] = {}
    keeping: dict[str, str] = {}
    for stage in plan.stages:
        if stage.model in keeping and not isinstance(stage, SolveStage):
            raise PlanError(
                f"stage {keeping[stage.model]!r} makes the examples themselves the head, and nothing of that "
                f"can be trained or averaged: put stage {stage.name!r} in front of it, or leave one out"
            )
        if not isinstance(stage, SolveStage):
            continue
        check_solver(stage.solver, stage.options)
        if stage.solver in CALIBRATIONS:
            _check_unseen(stage, refitted.get(stage.model))
            continue
        _check_training(stage, plan)
        refitted.pop(stage.model, None)
        if stage.refit:
            refitted[stage.model] = stage.name
        if stage.solver in KEEPS_EXAMPLES:
            _check_kept(stage, plan)
            keeping[stage.model] = stage.name


def _check_unseen(stage: SolveStage, refitted: str | None) -> None:
    if refitted is not None:
        raise PlanError(
            f"stage {stage.name!r} calibrates on the validation examples, and stage {refitted!r} fits its "
            f"head to them once more: --set stages.{refitted}.refit=false keeps them apart"
        )


def _check_training(stage: SolveStage, plan: Plan) -> None:
    for name in stage.streams:
        if plan.streams[name].reads == "target" and plan.streams[name].part != "train":
            raise PlanError(
                f"stage {stage.name!r} solves heads on the stream {name!r}, whose part is "
                f"{plan.streams[name].part!r}: validation examples judge what comes after. "
                f"--set streams.{name}.part=train, and stages.{stage.name}.refit=true at the end of a plan"
            )


def _check_kept(stage: SolveStage, plan: Plan) -> None:
    own = [name for name in stage.streams if plan.streams[name].heads == "own"]
    if own:
        raise PlanError(
            f"stage {stage.name!r} makes examples of the stream {', '.join(own)} a head, which the finished "
            f"model leaves out: --set stages.{stage.name}.solver=ridge"
        )


def _solve(stage: SolveStage, work: Workspace) -> None:
    rows = open_rows(stage, work)
    tasks = {name: task for one in rows for name, task in one.tasks.items()}
    strange = [output for output in stage.outputs if output not in tasks]
    if strange:
        raise PlanError(
            f"stage {stage.name!r} solves the output {', '.join(strange)}; its streams "
            f"({', '.join(stage.streams)}) have: {', '.join(tasks)}"
        )
    with work.spending(stage.name):
        for output in stage.outputs or tuple(tasks):
            _solve_output(stage, work, output, tasks[output], rows)


def _solve_output(stage: SolveStage, work: Workspace, output: str, task: Task, rows: Sequence[Rows]) -> None:
    solver = find_solver(stage.solver)
    features, labels, inside = of_output(rows, output)
    solution = solver(features[inside], labels[inside], task, **stage.options)
    work.history.add(
        {"stage": stage.name, "kind": "solve", "solver": stage.solver, "output": output, **solution.history}
    )
    if stage.refit:
        # One penalty leaves nothing to choose, but rows are held out once more for the temperature: that of
        # the training rows alone raised the test log-loss of digits by 3% (60 and 300 labels).
        chosen = solution.history["chosen"]
        again = {} if chosen is None else {"grid": [chosen]}
        solution = solver(features, labels, task, **{**stage.options, **again})
    # A least-squares head's outputs are no logits; what prediction and a later stage read has to be.
    solution = solution.calibrated()
    key, heads = head_key(output), work.models[stage.model].heads
    heads[key] = solution.into(heads[key], task)
    if stage.model != "student":
        return
    work.trained.difference_update([name for name in work.trained if name.startswith(f"heads.{key}.")])
    work.trained.update(f"heads.{key}.{name}" for name, _ in heads[key].named_parameters())


def _calibrate(stage: SolveStage, work: Workspace) -> None:
    """Multiply the logits of heads by what suits the validation examples."""
    kinds = {name: task.spec.kind for name, task in work.tasks.items()}
    names = stage.outputs or tuple(name for name, kind in kinds.items() if kind != "regression")
    if not names:
        raise PlanError(
            f"stage {stage.name!r} calibrates outputs with classes, and there is none: leave the stage out"
        )
    held = work.draw.validation
    outputs = work.logits(held, model=stage.model)
    with work.spending(stage.name):
        labels = work.target.labels(held)
        for name in names:
            task, head = work.tasks[name], work.models[stage.model].heads[head_key(name)]
            found = CALIBRATIONS[stage.solver](outputs[name], labels[name], task, **stage.options)
            task.sharpen_head(head, found.sharpness)
            work.history.add({"stage": stage.name, "output": name, **found.history})
