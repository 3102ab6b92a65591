"""The shape of the data, looked at before anything is trained: for ``regraft plan`` and for ``fit``."""

from __future__ import annotations

import numpy as np

from regraft.core.randomness import numpy_generator
from regraft.engine import Workspace
from regraft.engine.price import Price
from regraft.evidence.shape import Finding, features_gain, few_labels, too_big
from regraft.evidence.shape.gain import MOST
from regraft.inference import Embedder
from regraft.linking import Link
from regraft.plans import Plan, SolveStage
from regraft.targets import Draw, Target, prepare
from regraft.targets.raw import raw_values
from regraft.tasks import Task, make_task
from regraft.terms import CALIBRATIONS

_FOR_A_PLAN = 200  # examples that are embedded to say something of a plan


def shape_of_plan(
    plan: Plan, target: Target, link: Link, price: Price, *, budget: float | None = None
) -> tuple[Finding, ...]:
    """What speaks against a plan: too few labels, a dissimilar task, a network too big for the machine.

    Up to 200 training examples go through the source's network, uncompiled.

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
        *_dissimilar_to(link, target, draw),
        *too_big(price, budget=budget),
    )


def _dissimilar_to(link: Link, target: Target, draw: Draw) -> tuple[Finding, ...]:
    chosen = target.select(_some(draw.train, _FOR_A_PLAN))
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
    solves = isinstance(first, SolveStage) and first.model == "student" and first.solver not in CALIBRATIONS
    if not solves or not all(work.plan.streams[name].reads == "target" for name in first.streams):
        return few
    refit = isinstance(first, SolveStage) and first.refit
    used = np.union1d(work.draw.train, work.draw.validation) if refit else work.draw.train
    chosen = _some(work.draw.train, MOST)
    features = work.features("student", used).numpy()[np.searchsorted(used, chosen)]
    raw, what = raw_values(work.target, work.inputs, chosen)
    tasks = list(work.tasks.values())
    return (*few, *_findings(tasks, features, raw, work.target.labels(chosen), what))
