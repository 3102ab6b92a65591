"""The objective of one step: the plan's terms, weighted and summed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from regraft.core.errors import NonFiniteLossError, PlanError
from regraft.engine.forward import Forward
from regraft.engine.prefetch import Reader, Wanted
from regraft.engine.slices import WHOLE, Slice
from regraft.engine.streams import Stream
from regraft.engine.workspace import Workspace
from regraft.plans import TermSpec, TrainStage
from regraft.plans.schema import Learned, Schedule
from regraft.terms import StepContext, Term, TermValue, check_combine_rule, find_term


@dataclass(frozen=True)
class WeightedTerm:
    """A term with the weight that the plan gives it."""

    term: Term
    weight: float | Schedule

    def weight_at(self, done: float) -> float:
        """The weight when the share ``done`` of the stage's steps is done."""
        if isinstance(self.weight, float | int):
            return float(self.weight)
        span = max(self.weight.finish - self.weight.begin, 1e-12)
        x = min(max((done - self.weight.begin) / span, 0.0), 1.0)
        shapes = {
            "linear": x,
            "cosine": 0.5 * (1 - math.cos(math.pi * x)),
            # From 0 to 1 with slope 10, as domain-adversarial training ramps its weight (Ganin et al. 2016).
            "sigmoid": 2 / (1 + math.exp(-10 * x)) - 1,
        }
        return self.weight.start + (self.weight.end - self.weight.start) * shapes[self.weight.schedule]


def make_terms(stage: TrainStage) -> tuple[WeightedTerm, ...]:
    """The stage's terms. Raises :class:`PlanError` for what no definition exists for."""
    check_combine_rule(stage.combine.rule)
    if stage.edits:
        raise PlanError(
            f"stage {stage.name!r} edits the network ({stage.edits[0].edit}); there are no edits yet"
        )
    if not stage.terms:
        raise PlanError(f"stage {stage.name!r} has no terms, so there is nothing to minimise")
    return tuple(_make_term(spec, stage) for spec in stage.terms)


def _make_term(spec: TermSpec, stage: TrainStage) -> WeightedTerm:
    if isinstance(spec.weight, Learned):
        raise PlanError(
            f"the term {spec.computes!r} has a learned weight ({spec.weight.learned}); there is none yet"
        )
    models = spec.models or (stage.model,)
    if models != (stage.model,):
        raise PlanError(
            f"the term {spec.computes!r} reads the models {', '.join(models)}; "
            f"a stage runs one, {stage.model}"
        )
    term = find_term(spec.computes)(
        models=models, streams=spec.streams, outputs=spec.outputs, options=spec.options
    )
    return WeightedTerm(term, spec.weight)


@dataclass(frozen=True)
class Objective:
    """What a train stage minimises."""

    terms: tuple[WeightedTerm, ...]
    streams: dict[str, Stream]
    forward: Forward
    reader: Reader
    work: Workspace
    stage: str

    def __call__(self, step: int, done: float, piece: Slice = WHOLE) -> Tensor:
        """The weighted sum of the terms for the batches of a step, or for a slice of them: a scalar.

        Raises :class:`NonFiniteLossError`, naming the first example at fault, before any gradient is taken.
        """
        batches = {name: stream.at(step) for name, stream in self.streams.items()}
        examples = {name: piece.take(batch) for name, batch in batches.items()}

        @cache
        def outputs(model: str, stream: str) -> dict[str, Tensor]:
            wanted = Wanted(stream, step, piece)
            view = self.streams[stream].view(step)
            return self.forward(examples[stream], view=view, made=lambda: self.reader(wanted))

        labels = {
            name: {key: value.to(self.work.device) for key, value in self.work.labels(chosen).items()}
            for name, chosen in examples.items()
        }
        sizes = {name: len(batch) for name, batch in batches.items()}
        known = {name: self._count_known(batch) for name, batch in batches.items()}
        context = StepContext(outputs, labels, self.work.tasks, sizes, known)
        total = torch.zeros((), device=self.work.device)
        for weighted in self.terms:
            value = weighted.term(context)
            self._check(value, examples[weighted.term.streams[0]], step)
            total = total + weighted.weight_at(done) * value.total
        return total

    def reads(self, step: int, piece: Slice) -> bool:
        """Whether a slice of the step's batches holds any example."""
        return piece is WHOLE or any(len(piece.take(stream.at(step))) for stream in self.streams.values())

    def _count_known(self, examples: np.ndarray) -> dict[str, int]:
        """How many of the examples have each label."""
        labels = self.work.target.labels(examples)
        return {name: int(task.present(labels[name]).sum()) for name, task in self.work.tasks.items()}

    def _check(self, value: TermValue, examples: np.ndarray, step: int) -> None:
        if torch.isfinite(value.per_example).all() and torch.isfinite(value.total):
            return
        bad = np.flatnonzero(~torch.isfinite(value.per_example).cpu().numpy())
        culprit = self.work.inputs.names[int(examples[bad[0]])] if len(bad) else "no single example"
        raise NonFiniteLossError(
            f"stage {self.stage!r}, step {step}: the loss is not finite at {culprit} "
            f"({len(bad)} of the {len(examples)} examples of the batch). The step was not taken. "
            "Look at that example, or lower the rates: --set groups.0.rate=VALUE"
        )
