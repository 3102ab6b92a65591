"""From a plan and prepared data to a workspace: draw, tasks, linked models, device."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from regraft.core.console import say
from regraft.core.errors import PlanError
from regraft.core.inputs import Inputs
from regraft.engine.checkpoint import Checkpoints
from regraft.engine.edits import try_edits
from regraft.engine.execute import check_plan
from regraft.engine.history import History
from regraft.engine.processes import ALONE, Processes
from regraft.engine.settings import Settings
from regraft.engine.stage_terms import check_terms
from regraft.engine.starts import remember_start
from regraft.engine.stream_data import StreamData
from regraft.engine.workspace import Workspace
from regraft.linking import Grafted, Link
from regraft.plans import Plan
from regraft.targets import Draw, Target
from regraft.targets.balance import draw_notes
from regraft.tasks import Task, make_task


def draw_examples(plan: Plan, target: Target) -> Draw:
    """Train and validation as the plan wants them."""
    wanted = plan.draw
    if wanted.train_size is not None and wanted.train_size > len(target.pool):
        say(f"{wanted.train_size} labels were asked for; all {len(target.pool)} of the pool are used.")
    drawn = target.draw(
        plan.seed, train_size=wanted.train_size, per_class=wanted.per_class, validation=wanted.validation
    )
    for note in draw_notes(target, drawn):
        say(note)
    return drawn


def fitted_tasks(target: Target, draw: Draw) -> dict[str, Task]:
    """The target's tasks, by output, knowing what they have to know of the training labels."""
    labels = target.labels(draw.train)
    return {spec.name: make_task(spec).fitted(labels[spec.name]) for spec in target.tasks}


def headed_tasks(plan: Plan, tasks: Mapping[str, Task], others: Mapping[str, StreamData]) -> dict[str, Task]:
    """The tasks that the plan's models have heads for: the run's own, and those of streams with their own."""
    own = {
        name: task
        for stream in plan.streams
        if stream in others
        for name, task in others[stream].tasks.items()
    }
    same = sorted(set(tasks) & set(own))
    if same:
        raise PlanError(
            f"a stream's own outputs have names that the target's have ({', '.join(same)}): give the stream "
            "another name"
        )
    return {**tasks, **own}


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
    others: Mapping[str, StreamData] | None = None,
    own_inputs: Mapping[str, Inputs] | None = None,
) -> Workspace:
    """Load every model of the plan by its link and put it on the device.

    ``links`` are to blueprints with a head for each of :func:`headed_tasks`, ``tasks`` the run's own outputs.
    ``others`` are the data of streams that do not read the target; examples that are in the target's test or
    validation part are left out of them, aloud. ``own_inputs`` are the target's examples as models read them
    that prepare them otherwise than the student does.

    A model that is initialised afresh gets its own code's initialisation, drawn by the plan's seed.
    Raises LinkError where a link covers less than the plan requires.
    """
    check_plan(plan)
    check_terms(plan, tasks, others or {})
    device = settings.apply()
    settled = {name: _settled(plan, spec.average_of or name, links) for name, spec in plan.models.items()}
    models: dict[str, Grafted] = {name: link.load().to(device) for name, link in settled.items()}
    try_edits(plan, models)
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
        others={name: _apart(data, target, draw) for name, data in (others or {}).items()},
        own_inputs=dict(own_inputs or {}),
        starts={name: remember_start(plan, name, models[name], link) for name, link in settled.items()},
    )


def _apart(data: StreamData, target: Target, draw: Draw) -> StreamData:
    """A stream's data without what stands in the target's test or validation part, found by content."""
    hashes = target.examples.hashes
    held = {hashes[int(index)] for index in np.concatenate([target.test, draw.validation])}
    left = data.without(held)
    gone = len(data.examples) - len(left.examples)
    if gone:
        say(
            f"{gone} examples of the stream {data.name!r} are in the target's test or validation part as "
            "well; they are left out of the stream."
        )
    return left


def _settled(plan: Plan, name: str, links: Mapping[str, Link]) -> Link:
    """What one of the plan's models begins with; a moving average begins as a copy of what it follows."""
    spec, link = plan.models[name], links[name]
    return link.fresh(seed=plan.seed) if spec.initialise == "fresh" else link.require(spec.require)
