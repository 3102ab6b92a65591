"""Arms that the engine fits: the run's strategy, a probe, and networks from scratch."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from regraft.core.inputs import Inputs
from regraft.engine import Opened, Settings, Workspace, execute, open_workspace
from regraft.engine.open import fitted_tasks, headed_tasks
from regraft.engine.stream_data import StreamData
from regraft.evidence.arms import ArmKind, ArmResult
from regraft.linking import Blueprint, Link, find_link
from regraft.plans import Plan, SolveStage, TrainStage
from regraft.sources import Source
from regraft.targets import Draw, Prepared

_ALIKE = 1.25  # times the labels, up to which the plan that was best is kept


@dataclass
class TrainedArm:
    """Carries a plan out on every draw, in memory, and scores the test part.

    Parameters
    ----------
    name, kind
        As printed, and what it is.
    plans
        Usually one. Where there are several (rates for a network from scratch), the one that does best on the
        first draw's validation part is kept for the others of about its size; trying them is charged to the
        first.
    source
        Whose weights carry over.
    prepared
        The target as that network reads it.
    output
        Which output is compared.
    settings
        Device, threads, backend.
    expected_seconds
        What a trial is thought to cost, or None.
    network
        Whose network it is, where that is not the source's own.
    others
        By stream, the data of those that do not read the target.
    models
        The sources of the plan's models beside the student.
    own_inputs
        By model, the target's examples as it reads them, where that is not how the student does.
    link
        The student's link where it was found before, with heads for the target's outputs.
    """

    name: str
    kind: ArmKind
    plans: Sequence[Plan]
    source: Source
    prepared: Prepared
    output: str
    settings: Settings
    expected_seconds: float | None = None
    network: Source | None = None
    others: Mapping[str, StreamData] | None = None
    models: Mapping[str, Opened] | None = None
    own_inputs: Mapping[str, Inputs] | None = None
    link: Link | None = None
    offered: Sequence[Plan] = field(default=(), init=False, repr=False)
    _settled_at: int = field(default=0, init=False, repr=False)  # labels of the draw that chose among plans
    _warm: bool = field(default=False, init=False, repr=False)

    def __post_init__(self) -> None:
        self.offered = self.plans

    @property
    def uses_source(self) -> bool:
        """Whether any model of the plan starts from source weights."""
        specs = self.plans[0].models.values()
        return any(spec.initialise == "linked" and spec.average_of is None for spec in specs)

    def run(self, draw: Draw) -> ArmResult:
        """See :class:`regraft.evidence.arms.Arm`."""
        start = time.monotonic()
        once = self._warm_up(draw)
        labels = len(draw.train) + len(draw.validation)
        if not 1 / _ALIKE < labels / max(1, self._settled_at) < _ALIKE:
            self.plans, self._settled_at = self.offered, labels
        tried = [(self._carry_out(plan, draw), plan) for plan in self.plans]
        (work, validation), plan = self._best(tried)
        if len(self.plans) > 1:
            once += (time.monotonic() - start) * (1 - 1 / len(self.plans))
            self.plans = (plan,)
        task = work.tasks[self.output]
        scores = task.scores(work.logits(self.prepared.target.test)[self.output])
        seconds = time.monotonic() - start
        return ArmResult(validation, scores, seconds, work.trained_parameters, once, plan.strategy)

    def _best(
        self, tried: list[tuple[tuple[Workspace, float], Plan]]
    ) -> tuple[tuple[Workspace, float], Plan]:
        metric = tried[0][0][0].tasks[self.output].metrics[0]
        sign = 1 if metric.higher_is_better else -1
        return max(tried, key=lambda one: -np.inf if np.isnan(one[0][1]) else sign * one[0][1])

    def _carry_out(self, plan: Plan, draw: Draw) -> tuple[Workspace, float]:
        """A fitted workspace and its deciding metric on the validation part, which the fit has not seen."""
        apart = _without_refit(plan)
        work = self.carry_out(apart, draw)
        validation = self._validation(work)
        if apart != plan:
            work = self.carry_out(plan, draw)
        return work, validation

    def carry_out(self, plan: Plan, draw: Draw) -> Workspace:
        """The workspace of the plan carried out on a draw, in memory."""
        work = self._open(plan, draw)
        execute(work)
        return work

    def _open(self, plan: Plan, draw: Draw) -> Workspace:
        target = self.prepared.target
        tasks = fitted_tasks(target, draw)
        headed = tuple(headed_tasks(plan, tasks, self.others or {}).values())
        link = self._link_for(plan, Blueprint(self.network or self.source, headed), draw.seed)
        seeded = plan.model_copy(update={"seed": draw.seed})
        beside = {
            name: pair.link(plan.models[name], headed_tasks(plan, tasks, self.others or {}), seed=draw.seed)
            for name, pair in (self.models or {}).items()
            if name in plan.models
        }
        return open_workspace(
            seeded,
            target,
            self.prepared.inputs,
            {"student": link, **beside},
            tasks,
            draw,
            settings=self.settings,
            others=self.others,
            own_inputs=self.own_inputs,
        )

    def _link_for(self, plan: Plan, blueprint: Blueprint, seed: int) -> Link:
        """The link of this draw: rows depend on names and shapes alone, so they are found once."""
        if self.link is None:
            spec = plan.models["student"]
            origin = self.source
            self.link = find_link(origin, blueprint, maps=spec.map, waivers=spec.waive)
        return replace(self.link, blueprint=blueprint, seed=seed)

    def _validation(self, work: Workspace) -> float:
        examples = work.draw.validation
        if len(examples) == 0:
            return float("nan")
        task, labels = work.tasks[self.output], work.target.labels(examples)[self.output]
        known = task.present(labels)
        scores = task.scores(work.logits(examples)[self.output])
        return task.metrics[0].compute(scores[known], labels[known])

    def _warm_up(self, draw: Draw) -> float:
        """Run the frozen layers over everything that any draw will read; later trials find it kept."""
        if self._warm or not self.uses_source:
            return 0.0
        self._warm = True
        target = self.prepared.target
        trains = any(isinstance(stage, TrainStage) for stage in self.plans[0].stages)
        return self.keep_frozen(draw, target.pool if trains else np.arange(len(target)), target.pool)

    def keep_frozen(self, draw: Draw, solved: np.ndarray, trained: np.ndarray) -> float:
        """Run what the first plan freezes over the examples that its solve stages and its train stages read,
        and keep what it gives; returns the seconds that it took.
        """
        start = time.monotonic()
        work = self._open(self.plans[0], draw)
        if any(isinstance(stage, SolveStage) for stage in work.plan.stages):
            work.features("student", solved)
        for stage in work.plan.stages:
            if isinstance(stage, TrainStage) and stage.frozen_prefix is not None:
                cut = work.models[stage.model].trunk.cut_after(stage.frozen_prefix)
                work.embedder(stage.model, cut).compute(trained)
        return time.monotonic() - start


def _without_refit(plan: Plan) -> Plan:
    """The plan whose solve stages keep away from the validation part."""
    stages = tuple(
        stage.model_copy(update={"refit": False}) if isinstance(stage, SolveStage) else stage
        for stage in plan.stages
    )
    return plan.model_copy(update={"stages": stages})
