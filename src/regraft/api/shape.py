"""The shape of the data, looked at before anything is trained: for ``regraft plan`` and for ``fit``."""

from __future__ import annotations

import numpy as np

from regraft.core.randomness import numpy_generator
from regraft.engine import Workspace
from regraft.engine.price import Price
from regraft.evidence.shape import Finding, features_gain, few_labels, too_big
from regraft.evidence.shape.gain import LEAST, MOST
from regraft.inference import Embedder
from regraft.linking import Link
from regraft.plans import Plan, SolveStage
from regraft.targets import Draw, Target, prepare
from regraft.targets.raw import raw_values
from regraft.tasks import Task, make_task
from regraft.terms import CALIBRATIONS

_FOR_A_PLAN = 200  # examples that are embedded to say something of a plan
_PATIENCE = 60.0  # seconds that this may take


def shape_of_plan(
    plan: Plan, target: Target, link: Link, price: Price, *, budget: float | None = None
) -> tuple[Finding, ...]:
    """What speaks against a plan: too few labels, a dissimilar task, a network too big for the machine.

    Up to 200 training examples go through the source's network, uncompiled: as many as a minute allows.

    Parameters
    ----------
    price
        Of the plan on this machine.
    budget
        Seconds that it may take; an hour if nobody said.
    """
    wanted = plan.draw
    draw = target.draw(
        plan.seed, train_size=wanted.train_size, per_class=wanted.per_class, validation=wanted.validation
    )
    return (
        *few_labels(target, draw, plan.strategy),
        *_dissimilar_to(plan, link, target, draw, price),
        *too_big(price, budget=budget),
    )


def _dissimilar_to(plan: Plan, link: Link, target: Target, draw: Draw, price: Price) -> tuple[Finding, ...]:
    if plan.models["student"].initialise != "linked":
        return ()
    each = price.features / max(price.examples, 1)
    most = _FOR_A_PLAN if each * _FOR_A_PLAN <= _PATIENCE else int(_PATIENCE / each)
    chosen = target.select(_some(draw.train, most))
    if len(chosen) < LEAST:
        return ()
    prepared = prepare(chosen, link.graft.source.preprocessing, max_unreadable=1.0)
    examples = np.arange(len(prepared.target))
    trunk = link.load().trunk.eval()
    whole = Embedder(trunk, prepared.inputs, cut=len(trunk.blocks), backend="eager", keep=False)
    features = whole.features(examples).numpy()
    raw, what = raw_values(prepared.target, prepared.inputs, examples)
    labels = prepared.target.labels(examples)
    tasks = [make_task(spec) for spec in target.tasks]
    return _findings(tasks, features, raw, labels, what)


def _some(examples: np.ndarray, most: int) -> np.ndarray:
    """So many of them, ascending, drawn with a fixed seed."""
    order = numpy_generator(0, "shape", len(examples)).permutation(len(examples))
    return np.sort(examples[order[:most]])


def _findings(
    tasks: list[Task], features: np.ndarray, raw: np.ndarray, labels: dict[str, np.ndarray], what: str
) -> tuple[Finding, ...]:
    gains = (features_gain(task, features, raw, labels[task.spec.name], what=what) for task in tasks)
    found = (gain.finding() for gain in gains if gain is not None)
    return tuple(one for one in found if one is not None)


def shape_of_run(work: Workspace) -> tuple[Finding, ...]:
    """What shows of it at no price: too few labels; a dissimilar task where the plan begins with a head on
    frozen features, which are then those that its first stage reads.

    Memory is counted, slice by slice, when a stage begins.
    """
    few = few_labels(work.target, work.draw, work.plan.strategy)
    first = work.plan.stages[0]
    if not isinstance(first, SolveStage) or not _reads_frozen_source(first, work.plan):
        return few
    used = np.union1d(work.draw.train, work.draw.validation) if first.refit else work.draw.train
    chosen = _some(work.draw.train, MOST)
    features = work.features("student", used).numpy()[np.searchsorted(used, chosen)]
    raw, what = raw_values(work.target, work.inputs, chosen)
    tasks = list(work.tasks.values())
    return (*few, *_findings(tasks, features, raw, work.target.labels(chosen), what))


def _reads_frozen_source(stage: SolveStage, plan: Plan) -> bool:
    """Whether a first stage fits a head to what the source's weights make of the target."""
    return (
        stage.model == "student"
        and plan.models["student"].initialise == "linked"
        and stage.solver not in CALIBRATIONS
        and all(plan.streams[name].reads == "target" for name in stage.streams)
    )
