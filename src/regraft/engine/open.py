"""From a plan and prepared data to a workspace: draw, tasks, linked models, device."""

from __future__ import annotations

from collections.abc import Mapping

from regraft.core.console import say
from regraft.core.inputs import Inputs
from regraft.engine.checkpoint import Checkpoints
from regraft.engine.execute import check_plan
from regraft.engine.history import History
from regraft.engine.processes import ALONE, Processes
from regraft.engine.settings import Settings
from regraft.engine.workspace import Workspace
from regraft.linking import Link
from regraft.plans import Plan
from regraft.targets import Draw, Target
from regraft.tasks import Task, make_task


def draw_examples(plan: Plan, target: Target) -> Draw:
    """Train and validation as the plan wants them."""
    wanted = plan.draw
    if wanted.train_size is not None and wanted.train_size > len(target.pool):
        say(f"{wanted.train_size} labels were asked for; all {len(target.pool)} of the pool are used.")
    return target.draw(
        plan.seed, train_size=wanted.train_size, per_class=wanted.per_class, validation=wanted.validation
    )


def fitted_tasks(target: Target, draw: Draw) -> dict[str, Task]:
    """The target's tasks, by output, knowing what they have to know of the training labels."""
    labels = target.labels(draw.train)
    return {spec.name: make_task(spec).fitted(labels[spec.name]) for spec in target.tasks}


def open_workspace(
    plan: Plan,
    target: Target,
    inputs: Inputs,
    links: Mapping[str, Link],
    tasks: dict[str, Task],
    draw: Draw,
    *,
    settings: Settings,
    history: History | None = None,
    checkpoints: Checkpoints | None = None,
    keep: bool = True,
    processes: Processes = ALONE,
) -> Workspace:
    """Load every model of the plan by its link and put it on the device.

    A model that is initialised afresh gets its own code's initialisation, drawn by the plan's seed.
    Raises LinkError where a link covers less than the plan requires.
    """
    check_plan(plan)
    device = settings.apply()
    models = {}
    for name, spec in plan.models.items():
        link = (
            links[name].fresh(seed=plan.seed)
            if spec.initialise == "fresh"
            else links[name].require(spec.require)
        )
        models[name] = link.load().to(device)
    return Workspace(
        plan=plan,
        target=target,
        inputs=inputs,
        draw=draw,
        tasks=tasks,
        models=models,
        settings=settings,
        device=device,
        history=history or History(),
        checkpoints=checkpoints,
        keep=keep,
        processes=processes,
    )
