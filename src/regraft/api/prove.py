"""``rg.prove``: did the source help?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from regraft.api.beginning import check_data
from regraft.api.opening import link_of, open_models
from regraft.api.streams import check_streams, find_streams_again, prepare_streams
from regraft.api.whereabouts import find_data
from regraft.core.console import said_once, say
from regraft.core.errors import BundleError, UsageError
from regraft.core.inputs import Inputs
from regraft.engine import Opened, Run, Settings
from regraft.engine.opened import inputs_apart
from regraft.engine.price import price
from regraft.engine.processes import refuse_many
from regraft.engine.stream_data import StreamData
from regraft.evidence import (
    BaselineArm,
    CurveTrials,
    Evidence,
    Ledger,
    Selection,
    TrainedArm,
    Trials,
    check_points,
    choose_reference,
    fresh_seeds,
    judge,
    run_curve,
    run_trials,
)
from regraft.evidence.arms import Arm
from regraft.linking import Blueprint, Link, find_link
from regraft.plans import ModelSpec, Plan
from regraft.report import write_card, write_report
from regraft.sources import Source, small_like
from regraft.strategies import plan_for
from regraft.targets import Draw, Prepared, Target, prepare
from regraft.tasks import make_task

SCRATCH = ("auto", "same", "small", "both")
_RATES = ("scratch", "scratch:slow", "scratch:fast")
_SHARE = 0.5  # of the budget that the same network from scratch may take before a small one stands in for it


def prove(
    run: Run | str | Path,
    *,
    seeds: int = 8,
    budget: float | None = 1200.0,
    scratch: str = "auto",
    curve: Sequence[int] = (),
    output: str | None = None,
    delta: float | None = None,
    sources: Mapping[str, Source] | None = None,
    builder: Any = None,
    network: Any = None,
    streams: Mapping[str, Any] | None = None,
) -> Evidence:
    """Compare a run's strategy with the best arm that has no source, over paired seeds.

    Parameters
    ----------
    seeds
        How many draws of training examples, initialisations and orders every arm goes through; fresh ones,
        neither the run's own nor any by which its source or strategy was chosen (``selection`` in run.json).
    budget
        Seconds to spend; None for no limit. What does not fit is cut in a stated order and written down.
    scratch
        The arm from scratch: ``same`` network, a ``small`` one, ``both``, or ``auto``: the same network where
        it takes at most half the budget, else a small one.
    curve
        Labels per class, as in ``(10, 25, 50, 100)``: learning curves of the strategy and the arms without a
        source, and how many times the labels these need to match it, in ``.curve``. Paid with what the
        verdict leaves of the budget.
    output
        Which output the verdict is about; the first if not given.
    delta
        What counts as a difference, in the deciding metric's unit; half a point if not given.
    sources, builder, network
        See :func:`regraft.fit`; a run that this process made needs none.
    streams
        By the plan's names, data of streams that lived in memory only; others are found again.

    Returns
    -------
    Evidence
        With ``.verdict``, ``.sentence``, ``.arms``, ``.contrasts``; also written to the run's folder.
    """
    refuse_many("prove")
    if scratch not in SCRATCH:
        raise UsageError(f"--scratch {scratch}: there are {', '.join(SCRATCH)}")
    points = check_points(curve) if curve else ()
    opened = run if isinstance(run, Run) else Run.load(run, builder=builder)
    if opened.status != "done":
        raise BundleError(
            f"{opened.folder} is {opened.status}; go on with it first: regraft resume {opened.folder}"
        )
    with said_once():  # what an arm says on one draw it says on every draw
        pairs = opened.opened or open_models(opened.plan, sources, opened.builder, network)
        case = _open_case(opened, pairs, output, streams)
        _check_curve(case, points)
        chosen = _selection(opened)
        fresh = fresh_seeds(case.plan.seed, seeds, chosen.seeds if chosen else ())
        trials = _run(case, _arms(case, scratch, seeds, budget), fresh, budget)
        curves = _run_curve(case, trials, points, budget) if points else None
    ledger = Ledger.from_json(opened.facts["ledger"])
    evidence = judge(trials, case.target, case.spec.name, ledger, delta=delta, curve=curves)
    evidence = replace(evidence, selection=chosen)
    evidence.write(opened.folder)
    opened.note(ledger=ledger.to_json(), test_label_reads=ledger.count)
    write_report(opened.folder)
    write_card(opened.folder)
    return evidence


@dataclass(frozen=True)
class _Case:
    """A finished run, opened for being proven."""

    plan: Plan
    pairs: Mapping[str, Opened]
    prepared: Prepared
    settings: Settings
    spec: Any
    others: dict[str, StreamData]

    @property
    def opened(self) -> Opened:
        return self.pairs["student"]

    @cached_property
    def own_inputs(self) -> dict[str, Inputs]:
        return inputs_apart(self.pairs, self.prepared)

    @property
    def target(self) -> Target:
        return self.prepared.target

    @property
    def model(self) -> ModelSpec:
        return self.plan.models["student"]

    @property
    def name(self) -> str:
        """What the strategy stands on, as printed."""
        weights, network = self.opened.weights.name, self.opened.network.name
        return f"{weights} in the network {network}" if self.opened.differ else weights

    def trained(self, name: str, kind: Any, plans: list[Plan]) -> TrainedArm:
        weights, network = self.opened.weights, self.opened.network
        return TrainedArm(
            name,
            kind,
            plans,
            weights,
            self.prepared,
            self.spec.name,
            self.settings,
            network=network,
            others=self.others,
            models={name: pair for name, pair in self.pairs.items() if name != "student"},
            own_inputs=self.own_inputs,
        )

    def untrained(self, name: str, plans: list[Plan], network: Source, prepared: Prepared) -> TrainedArm:
        return TrainedArm(name, "scratch", plans, network, prepared, self.spec.name, self.settings)


def _open_case(
    run: Run, pairs: Mapping[str, Opened], output: str | None, streams: Mapping[str, Any] | None
) -> _Case:
    plan, again = run.plan, f"regraft prove {run.folder}"
    target = find_data(run, again)
    check_data(run, target)
    steps = pairs["student"].network.preprocessing
    prepared = prepare(target, steps, max_unreadable=run.facts["max_unreadable"])
    specs = {spec.name: spec for spec in prepared.target.tasks}
    name = output or next(iter(specs))
    if name not in specs:
        raise UsageError(f"there is no output {name!r}; there are: {', '.join(specs)}")
    if output is None and len(specs) > 1:
        rest = ", ".join(other for other in specs if other != name)
        say(f"The verdict is about the output {name!r}; --output chooses another one: {rest}.")
    found = find_streams_again(run, streams, again)
    allowed = run.facts["max_unreadable"]
    others = prepare_streams(found, plan, prepared.target.tasks, steps, max_unreadable=allowed)
    check_streams(run, others)
    return _Case(plan, pairs, prepared, Settings(**run.facts["settings"]), specs[name], others)


def _selection(run: Run) -> Selection | None:
    """What choosing the run's source or strategy has seen and cost, where something was chosen."""
    told = run.facts.get("selection")
    return Selection.from_json(told) if told else None


def _check_curve(case: _Case, points: Sequence[int]) -> None:
    if points and case.spec.kind == "regression":
        raise UsageError(
            f"--curve counts labels per class, and the output {case.spec.name!r} has only values; "
            "leave it out"
        )
    counted = next((spec.name for spec in case.target.tasks if spec.kind != "regression"), "")
    if points and counted != case.spec.name:
        raise UsageError(
            f"--curve draws labels per class of {counted!r}, the first output with classes, and the verdict "
            f"is about {case.spec.name!r}; leave out --curve, or --output"
        )


def _run_curve(case: _Case, trials: Trials, points: Sequence[int], budget: float | None) -> CurveTrials:
    def draw(seed: int, per_class: int) -> Draw:
        return case.target.draw(seed, per_class=per_class, validation=case.plan.draw.validation)

    reference = choose_reference(trials, make_task(case.spec).metrics[0])
    left = None if budget is None else max(0.0, budget - trials.spent_seconds)
    return run_curve(trials, reference, points, draw, budget=left)


def _run(case: _Case, arms: list[Arm], fresh: Sequence[int], budget: float | None) -> Trials:
    """All arms on draws that the run has not seen, of the size of its own."""
    wanted = case.plan.draw

    def draw(seed: int) -> Draw:
        return case.target.draw(
            seed, train_size=wanted.train_size, per_class=wanted.per_class, validation=wanted.validation
        )

    metric = make_task(case.spec).metrics[0]
    return run_trials(arms, draw, seeds=fresh, budget=budget, higher_is_better=metric.higher_is_better)


def _arms(case: _Case, scratch: str, seeds: int, budget: float | None) -> list[Arm]:
    """The run's own strategy first, then the plain baseline, a probe if that is another one, and scratch."""
    strategy = case.plan.strategy or "plan"
    linked = case.model.initialise == "linked"
    name = f"{strategy} on {case.name}" if linked else f"{strategy}, {case.opened.network.name} network"
    arms: list[Arm] = [
        case.trained(name, "strategy", [case.plan]),
        BaselineArm(case.target, case.spec.name),
    ]
    if strategy != "probe":
        arms.append(case.trained(f"probe on {case.name}", "probe", [_probe(case)]))
    if scratch == "small":
        return [*arms, _small_network(case)]
    same = _same_network(case)
    fits = budget is None or (same.expected_seconds or 0) * (seeds + len(_RATES) - 1) <= _SHARE * budget
    if scratch in ("same", "both") or (scratch == "auto" and fits):
        arms.append(same)
    if scratch == "both" or (scratch == "auto" and not fits):
        arms.append(_small_network(case))
    if scratch == "auto" and not fits:
        say(
            "The same network from scratch would take over half the budget; a small network stands in for it."
        )
    return arms


def _probe(case: _Case) -> Plan:
    """A probe of the run's own link: its maps and waivers, and as much of the source as it required."""
    tasks = {spec.name: make_task(spec) for spec in case.target.tasks}
    link = link_of(case.plan, "student", case.opened, tasks)
    plan = plan_for(link, "probe", seed=case.plan.seed, draw=case.plan.draw)
    student = plan.models["student"].model_copy(
        update={"require": case.model.require if case.model.initialise == "linked" else 1.0}
    )
    return plan.model_copy(update={"models": {"student": student}})


def _scratch_plans(case: _Case, network: Source) -> tuple[list[Plan], Link]:
    link = find_link(network, Blueprint(network, tuple(make_task(spec) for spec in case.target.tasks)))
    return [plan_for(link, rate, seed=case.plan.seed, draw=case.plan.draw) for rate in _RATES], link


def _same_network(case: _Case) -> TrainedArm:
    plans, link = _scratch_plans(case, case.opened.network)
    arm = case.untrained("scratch, same network", plans, case.opened.network, case.prepared)
    arm.expected_seconds = price(plans[0], case.target, link).total
    return arm


def _small_network(case: _Case) -> TrainedArm:
    network = small_like(case.opened.network)
    prepared = prepare(case.target, network.preprocessing, max_unreadable=1.0)
    plans, _ = _scratch_plans(case, network)
    size = f"{network.parameters / 1e6:.1f} M parameters"
    arm = case.untrained(f"scratch, small network ({size})", plans, network, prepared)
    # It runs in a second or two: compiling it anew for every seed would take longer.
    arm.settings = replace(case.settings, backend="eager")
    return arm
