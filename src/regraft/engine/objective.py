"""The objective of one step: the plan's terms, weighted and summed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial

import numpy as np
import torch
from torch import Tensor

from regraft.core.errors import NonFiniteLossError, PlanError
from regraft.core.inputs import Batch
from regraft.engine.companions import Companions
from regraft.engine.forward import Forward, Seen
from regraft.engine.mixing import Portion
from regraft.engine.precision import Precision
from regraft.engine.prefetch import Reader, Wanted
from regraft.engine.slices import WHOLE, Slice
from regraft.engine.stage_terms import tasks_of
from regraft.engine.streams import Stream
from regraft.engine.term_states import TermStates
from regraft.engine.weights import WeightedTerm
from regraft.engine.workspace import Workspace
from regraft.tasks import Task
from regraft.terms import Partner, StepContext, Term, TermValue


@dataclass(frozen=True)
class Objective:
    """What a train stage minimises.

    Attributes
    ----------
    forward
        Runs the model on the run's own target.
    others
        By stream, what runs it on other data.
    precision
        In which numbers the layers run.
    tally
        By term, what it added to the losses since somebody emptied this: numbers without gradients.
    companions
        By model and stream, what runs the models that the stage reads and does not train.
    model
        The plan's name of the model that it trains.
    states
        What terms remember; a step notes there what it leaves.
    """

    terms: tuple[WeightedTerm, ...]
    streams: dict[str, Stream]
    forward: Forward
    reader: Reader
    work: Workspace
    stage: str
    others: Mapping[str, Forward] = field(default_factory=dict)
    precision: Precision | None = None
    tally: dict[str, Tensor] = field(default_factory=dict)
    companions: Companions = field(default_factory=dict)
    model: str = "student"
    states: TermStates | None = None

    @property
    def term_names(self) -> tuple[str, ...]:
        """The terms' names, in the plan's order; one that comes again has a number."""
        names = [weighted.term.name for weighted in self.terms]
        return tuple(
            f"{name} {names[: i + 1].count(name)}" if name in names[:i] else name
            for i, name in enumerate(names)
        )

    def shares(self, step: int, batches: int) -> tuple[float, ...]:
        """By term, how much of its stream's examples is in the batches of an optimiser step."""
        streams = [self.streams[weighted.term.streams[0]] for weighted in self.terms]
        numbers = range(step * batches, (step + 1) * batches)
        return tuple(sum(len(one.at(number)) for number in numbers) / len(one.examples) for one in streams)

    def __call__(self, step: int, done: float, piece: Slice = WHOLE) -> Tensor:
        """The weighted sum of the terms for the batches of a step, or for a slice of them: a scalar."""
        # A slice may hold no example of a small batch: its loss is 0, and has a gradient nevertheless.
        total = torch.zeros((), device=self.work.device, requires_grad=True)
        for part in self.parts(step, done, piece).values():
            total = total + part
        return total

    def parts(self, step: int, done: float, piece: Slice = WHOLE) -> dict[str, Tensor]:
        """Each weighted term for a slice of a step's batches, a scalar; none of which it holds no example.

        Raises :class:`NonFiniteLossError`, naming the first example at fault, before any gradient is taken.
        """
        portions = {name: stream.portion(step, piece) for name, stream in self.streams.items()}
        context = self._context(step, piece, portions)
        parts: dict[str, Tensor] = {}
        for number, (name, weighted) in enumerate(zip(self.term_names, self.terms, strict=True)):
            first = weighted.term.streams[0]
            if portions[first].count == 0:
                continue
            value = weighted.term(self._for(weighted.term, context))
            self._check(value, first, portions[first].own, step)
            if self.states is not None and value.left:
                self.states.note(number, step, value.left)
            part = weighted.weight_at(done) * value.total
            self.tally[name] = self.tally.get(name, torch.zeros_like(part)) + part.detach()
            parts[name] = part
        return parts

    def _for(self, term: Term, context: StepContext) -> StepContext:
        """What a term may read: of outputs, those of the data that it looks at."""
        tasks = tasks_of(term, self.work.tasks, self.work.others)
        return context if tasks is context.tasks else replace(context, tasks=tasks)

    def reads(self, step: int, piece: Slice) -> bool:
        """Whether a slice of the step's batches holds any example."""
        return piece is WHOLE or any(len(piece.take(stream.at(step))) for stream in self.streams.values())

    def _context(self, step: int, piece: Slice, portions: Mapping[str, Portion]) -> StepContext:
        """What terms may read."""
        batches = {name: stream.at(step) for name, stream in self.streams.items()}
        whole = {name: self._labels(name, batch) for name, batch in batches.items()}
        made = cache(lambda stream: self.reader(Wanted(stream, step, piece)))
        see = cache(partial(self._see, step, portions, made))
        return StepContext(
            lambda model, stream: see(model, stream).outputs,
            {name: self._labels(name, portion.own) for name, portion in portions.items()},
            self.work.tasks,
            {name: len(batch) for name, batch in batches.items()},
            {name: self._count_known(name, labels) for name, labels in whole.items()},
            whole,
            {
                name: Partner(self._labels(name, portion.partners), portion.mixture.share)
                for name, portion in portions.items()
                if portion.mixture is not None
            },
            self.frequencies,
            counts={name: portion.count for name, portion in portions.items()},
            features=lambda model, stream: see(model, stream).features,
            weights=self._weights,
            start=lambda model: self.work.starts[model].tensors,
            carried=lambda model: self.work.starts[model].carried,
            maps=lambda model, stream, block: see(model, stream).maps[self._after(model, block)],
        )

    def _after(self, model: str, block: str) -> int:
        return self.work.models[model].trunk.cut_after(block)

    def _see(
        self,
        step: int,
        portions: Mapping[str, Portion],
        made: Callable[[str], Batch],
        model: str,
        stream: str,
    ) -> Seen:
        """What a model gives for the slice of a stream's batch, in float32."""
        own, portion = model == self.model, portions[stream]
        forward = self.others.get(stream, self.forward) if own else self.companions[model, stream]
        reads_same = forward.inputs is self.others.get(stream, self.forward).inputs
        with (
            self.precision.reduced() if self.precision is not None else nullcontext(),
            nullcontext() if own else torch.no_grad(),
        ):
            found = forward.see(
                portion.examples,
                view=self.streams[stream].view(step),
                made=partial(made, stream) if reads_same else None,
                portion=portion,
            )
        return found.float()

    def _weights(self, model: str) -> dict[str, Tensor]:
        """The parameters that the stage trains, by name."""
        if model != self.model:
            raise PlanError(f"the stage {self.stage!r} trains {self.model!r}, and no weight of {model!r}")
        trained = self.work.models[model].named_parameters()
        return {name: parameter for name, parameter in trained if parameter.requires_grad}

    def _labels(self, stream: str, examples: np.ndarray) -> dict[str, Tensor]:
        """Labels of a stream's examples, by output; none where it is not labelled."""
        read = self.streams[stream]
        if not read.labelled:
            return {}
        found = read.other.labels_of(examples) if read.other else self.work.target.labels(examples)
        return {name: torch.from_numpy(np.asarray(v)).to(self.work.device) for name, v in found.items()}

    def _count_known(self, stream: str, labels: Mapping[str, Tensor]) -> dict[str, int]:
        """How many examples of a stream have each label."""
        return {
            name: int(self._task(stream, name).present(values.cpu().numpy()).sum())
            for name, values in labels.items()
        }

    def _task(self, stream: str, output: str) -> Task:
        """One of the outputs that a stream has labels for."""
        other = self.streams[stream].other
        return (other.tasks if other is not None and other.tasks else self.work.tasks)[output]

    @cached_property
    def frequencies(self) -> dict[str, dict[str, Tensor]]:
        """By stream and output with exclusive classes: how often each occurs, ``Float[Tensor, "K"]``."""
        found: dict[str, dict[str, Tensor]] = {}
        for name, stream in self.streams.items():
            labels = self._labels(name, stream.examples)
            found[name] = {
                output: torch.bincount(
                    values[values >= 0], minlength=self._task(name, output).outputs
                ).float()
                for output, values in labels.items()
                if values.dtype == torch.int64
            }
        return found

    def _check(self, value: TermValue, stream: str, examples: np.ndarray, step: int) -> None:
        if torch.isfinite(value.per_example).all() and torch.isfinite(value.total):
            return
        bad = np.flatnonzero(~torch.isfinite(value.per_example).cpu().numpy())
        other = self.streams[stream].other
        names = self.work.inputs.names if other is None else other.inputs.names
        culprit = names[int(examples[bad[0]])] if len(bad) else "no single example"
        raise NonFiniteLossError(
            f"stage {self.stage!r}, step {step}: the loss is not finite at {culprit} "
            f"({len(bad)} of the {len(examples)} examples of the batch). The step was not taken. "
            "Look at that example, or lower the rates: --set groups.0.rate=VALUE"
        )
