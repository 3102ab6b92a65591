"""What a plan will cost on this machine, measured on a handful of real examples before anything is run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from regraft.core.console import duration
from regraft.core.inputs import Batch
from regraft.core.memory import available_memory, in_bytes
from regraft.engine.average_stage import make_rule
from regraft.engine.companion_price import Beside, measure_beside, price_beside, timed
from regraft.engine.edits import edited, edits_at
from regraft.engine.freezing import Freeze, decide_freeze
from regraft.engine.memory import PROBES, measure_need, optimiser_states, weight_copies
from regraft.engine.rate_finder import BATCHES, STEPS
from regraft.engine.relative_gradient import BATCHES as LOOKS
from regraft.linking import Grafted, Link
from regraft.plans import AverageStage, Plan, SolveStage, TrainStage
from regraft.targets import Target, prepare

_PROBE = 8  # examples that are timed


@dataclass(frozen=True)
class Price:
    """Upper estimates: compiled layers, the cache and early stopping make a run cheaper.

    Attributes
    ----------
    features
        Seconds for running what is frozen, eagerly: each example once, however many stages read it, and once
        more for each random view; frozen sources and teachers too; and for running the finished model on
        the test part.
    stages
        Seconds by name: of each train stage, for all the epochs it may take, its validation, and the range
        test of groups whose rate is ``auto``, and other models that run in its steps; of each average stage,
        for validating all that it may try.
    examples
        How many examples of the target are read.
    weights
        Bytes of the weights of all the plan's models.
    memory
        Bytes that a step of each train stage takes beside them at its highest moment, by name.
    free
        Bytes that this process could still take when it was measured.
    """

    features: float
    stages: dict[str, float]
    examples: int
    weights: int
    memory: dict[str, int]
    free: int

    @property
    def total(self) -> float:
        """Seconds of all of it."""
        return self.features + sum(self.stages.values())

    def to_json(self) -> dict[str, Any]:
        """As plain JSON, seconds and bytes."""
        return {**asdict(self), "total": self.total}

    def __str__(self) -> str:
        parts = [f"the frozen layers once over {self.examples} examples, {duration(self.features)} at most"]
        parts += [f"stage {name!r}, {duration(seconds)} at most" for name, seconds in self.stages.items()]
        less = "Compiled layers, the cache and early stopping make it less."
        said = f"On this machine: {'; '.join(parts)}. {less}"
        if not self.memory:
            return said
        needs = ", ".join(f"stage {name!r} {in_bytes(need)}" for name, need in self.memory.items())
        return (
            f"{said} Memory beside the {in_bytes(self.weights)} of weights: {needs}; {in_bytes(self.free)} "
            "are free. What does not fit is computed in smaller slices."
        )


@dataclass(frozen=True)
class Sample:
    """A few of a target's examples and a network to time on them; several plans can share one.

    Attributes
    ----------
    few
        The examples.
    model
        The network with its heads.
    batch, count
        What it reads of them, and how many they are.
    prefixes
        Seconds of the first so many blocks for one example, as far as they were timed.
    """

    few: Target
    model: Grafted
    batch: Batch
    count: int
    prefixes: dict[int, float] = field(default_factory=dict)


def take_sample(target: Target, link: Link, *, fresh: bool = False) -> Sample:
    """A few of the pool's examples as the link's network reads them, and that network."""
    few = target.select(target.pool[:_PROBE])
    prepared = prepare(few, link.graft.source.preprocessing, max_unreadable=1.0)
    model = link.fresh().load() if fresh else link.load()
    pieces = np.arange(len(np.asarray(prepared.inputs.owners)))
    return Sample(few, model, prepared.inputs.batch(pieces), len(prepared.inputs))


def price(
    plan: Plan, target: Target, link: Link, *, sample: Sample | None = None, memory: bool = True
) -> Price:
    """Time the student's network on a few of the target's examples and count what the plan makes of it.

    ``sample`` is one that other plans for the same link were priced on; without ``memory`` none is measured.
    """
    taken = sample or take_sample(target, link, fresh=plan.models["student"].initialise != "linked")
    few, model, probe = taken.few, taken.model, _Probe(plan, taken)
    used = labels_used(plan, target)
    held = round(used * plan.draw.validation)
    stages = [stage for stage in plan.stages if isinstance(stage, TrainStage)]
    train = used - held
    averages = {one.name: probe.judging(one, held) for one in plan.stages if isinstance(one, AverageStage)}
    bytes_ = sum(value.numel() * value.element_size() for value in model.state_dict().values())
    beside = measure_beside(plan, few, Beside(probe.whole, bytes_)) if len(plan.models) > 1 else {}
    bill = price_beside(
        plan,
        beside,
        train=train,
        held=held,
        epochs=lambda stage: probe.epochs(stage, train)[0],
        behind=probe.behind,
    )
    return Price(
        probe.features(train, held, len(target.test)) + bill.once,
        {one.name: probe.seconds(one, train, held, bill.steps.get(one.name, 0.0)) for one in stages}
        | averages,
        used + len(target.test),
        bytes_ + sum(one.weights for one in beside.values()),
        {stage.name: probe.memory(stage) for stage in stages if memory},
        available_memory(torch.device("cpu")),
    )


def least_seconds(plan: Plan, target: Target, sample: Sample) -> float:
    """What a plan's train stages take at the very least, without running a step.

    Each example of each step runs through what stands behind the frozen prefix, forwards and at the least as
    long backwards.
    """
    probe, used = _Probe(plan, sample), labels_used(plan, target)
    train = used - round(used * plan.draw.validation)
    return sum(
        min(2 * probe.behind(stage) * train * probe.epochs(stage, train)[0], stage.stop.seconds or np.inf)
        for stage in plan.stages
        if isinstance(stage, TrainStage)
    )


class _Probe:
    """A model and a batch on which it is timed; all times are for one example."""

    def __init__(self, plan: Plan, sample: Sample):
        self.plan, self.model = plan, sample.model
        self.batch, self.count = sample.batch, sample.count
        self._prefixes = sample.prefixes

    @property
    def whole(self) -> float:
        """Seconds of the whole trunk for one example."""
        return self._forward(len(self.model.trunk.blocks))

    def behind(self, stage: TrainStage) -> float:
        """Seconds behind the stage's frozen prefix for one example."""
        prefix = stage.frozen_prefix
        cut = 0 if prefix is None else self.model.trunk.cut_after(prefix)
        return max(self.whole - self._forward(cut), 0.0)

    def features(self, train: int, held: int, test: int) -> float:
        """Running what is frozen over all examples: a prefix that several stages read is run once.

        Features for a solver come from the same prefix; only what stands behind it is run for them alone.
        """
        whole = self.whole
        cuts: dict[int, int] = {}
        for stage in self.plan.stages:
            if isinstance(stage, TrainStage) and stage.frozen_prefix is not None:
                cut = self.model.trunk.cut_after(stage.frozen_prefix)
                views = max((self.plan.streams[name].views for name in _streams(stage)), default=0)
                # Random views are those of training examples; validation is read as it is.
                cuts[cut] = max(cuts.get(cut, 0), max(views, 1) * train + held)
        seconds = sum(self._forward(cut) * runs for cut, runs in cuts.items())
        if any(isinstance(stage, SolveStage) and stage.model == "student" for stage in self.plan.stages):
            shared = self._forward(next(iter(cuts))) if cuts else 0.0
            plain = (
                train if cuts and max(cuts.values()) > train + held else 0
            )  # views leave plain ones to run
            seconds += max(whole - shared, 0.0) * (train + held) + shared * plain
        return seconds + whole * test

    def epochs(self, stage: TrainStage, train: int) -> tuple[float, float]:
        """How often a stage reads the training examples, and how often it would without a limit of steps."""
        leading = self.plan.streams[_streams(stage)[0]]
        per_epoch = -(-train // (leading.batch * stage.optimiser.accumulate))
        passes, most = stage.stop.epochs or np.inf, (stage.stop.steps or np.inf) / per_epoch
        # How many examples other data have is not known here: where steps end the stage they are counted.
        return most if leading.reads != "target" and stage.stop.steps else min(passes, most), passes

    def seconds(self, stage: TrainStage, train: int, held: int, others: float = 0.0) -> float:
        """A train stage's steps and validation; ``others`` is what other models take in its steps."""
        with edited(self.model, edits_at(self.plan, stage), sketched=True):
            freeze = self._frozen(stage)
            step = timed(self._stepper(freeze, self.batch)) / self.count
        leading = self.plan.streams[_streams(stage)[0]]
        beside = self._batch(stage) / leading.batch  # examples of all streams for each of the leading one's
        per_step = leading.batch * stage.optimiser.accumulate
        per_epoch = -(-train // per_step)
        epochs, passes = self.epochs(stage, train)
        autos = sum(group.rate == "auto" for group in stage.groups)
        scaled = any(group.scale != "none" for group in stage.groups)
        looks = (min(BATCHES, per_epoch) + STEPS * autos if autos else 0) + min(LOOKS, per_epoch) * scaled
        tried = looks * min(per_step, train)
        judged = max(self._forward(len(self.model.trunk.blocks)) - self._forward(freeze.cut), 0.0)
        seconds = (
            others + step * beside * (train * epochs + tried) + judged * held * (min(epochs, passes) + 1)
        )
        return float(min(seconds, stage.stop.seconds or np.inf))

    def judging(self, stage: AverageStage, held: int) -> float:
        """What an average stage tries, each validated behind the first cut that the plan keeps."""
        cuts = [
            self.model.trunk.cut_after(one.frozen_prefix)
            for one in self.plan.stages
            if isinstance(one, TrainStage) and one.frozen_prefix is not None
        ]
        count, cut = len(self.model.trunk.blocks), max(cuts, default=0)
        behind = self._forward(count) - self._forward(cut)
        trials = make_rule(stage).trials(stage.of, count - cut + 1)  # the heads are a block as well
        return max(behind, 0.0) * held * (trials + 1)

    def memory(self, stage: TrainStage) -> int:
        """Bytes beside the weights, for the batches of all of a step's streams together."""
        with edited(self.model, edits_at(self.plan, stage), sketched=True):
            freeze = self._frozen(stage)
            trained = [p for p in self.model.parameters() if p.requires_grad]
            steps = {count: self._stepper(freeze, self._few(count)) for count in PROBES}
            need = measure_need(
                lambda count: steps[count](),
                trained,
                states=optimiser_states(stage.optimiser),
                copies=weight_copies(stage, self.plan),
            )
        pieces = len(next(iter(self.batch.values()))) / self.count
        return need.of(round(self._batch(stage) * pieces))

    def _batch(self, stage: TrainStage) -> int:
        return sum(self.plan.streams[name].batch for name in _streams(stage))

    def _few(self, count: int) -> Batch:
        """``count`` pieces of the batch, again from the front where it has fewer."""
        pieces = len(next(iter(self.batch.values())))
        chosen = torch.arange(count) % pieces
        return {name: values[chosen] for name, values in self.batch.items()}

    def _forward(self, cut: int) -> float:
        """Seconds of the first ``cut`` blocks for one example."""
        if cut == 0:
            return 0.0
        if cut not in self._prefixes:
            self.model.eval()
            self._prefixes[cut] = timed(lambda: self._run_prefix(cut)) / self.count
        return self._prefixes[cut]

    def _run_prefix(self, cut: int) -> None:
        with torch.inference_mode():
            self.model.trunk.prefix(self.batch, cut=cut)

    def _frozen(self, stage: TrainStage) -> Freeze:
        freeze = decide_freeze(self.model, stage.trainable, stage.frozen_prefix)
        freeze.set_gradients(self.model)
        self.model.eval()  # statistics of batch norm must not move: the model is asked again
        return freeze

    def _stepper(self, freeze: Freeze, batch: Batch) -> Callable[[], None]:
        """Forward and backward through what a stage trains; the frozen prefix is computed now, once."""
        with torch.no_grad():
            activation = self.model.trunk.prefix(batch, cut=freeze.cut) if freeze.cut else None

        def step() -> None:
            features = self.model.trunk.suffix(activation, batch, cut=freeze.cut)
            total = torch.stack([values.sum() for values in self.model.head_outputs(features).values()]).sum()
            total.backward()
            self.model.zero_grad(set_to_none=True)

        return step


def _streams(stage: TrainStage) -> tuple[str, ...]:
    """Names of the streams that a stage reads."""
    return tuple(dict.fromkeys(name for term in stage.terms for name in term.streams))


def labels_used(plan: Plan, target: Target) -> int:
    """How many labelled examples a plan's draw takes, for training and validation together."""
    draw = plan.draw
    if draw.train_size is not None:
        return min(draw.train_size, len(target.pool))
    if draw.per_class is not None:
        classes = max((len(spec.classes) for spec in target.tasks), default=1)
        return min(draw.per_class * max(classes, 1), len(target.pool))
    return len(target.pool)
