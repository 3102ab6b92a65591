"""Term: one part of the objective of a train stage."""

from __future__ import annotations

import abc
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, NoReturn

from torch import Tensor, nn

from regraft.core.errors import PlanError
from regraft.core.spelling import did_you_mean
from regraft.core.task_spec import TaskSpec
from regraft.tasks import Task

Outputs = Mapping[str, Tensor]
"""By output name, ``Float[Tensor, "examples K"]``."""


Labels = Mapping[str, Tensor]
"""By output name, encoded as TaskSpec says; the first dimension is the example."""


@dataclass(frozen=True)
class Partner:
    """With what the examples of a slice are mixed, where they are.

    Attributes
    ----------
    labels
        Labels of each example's partner.
    share
        How much of each example is its own; the rest is its partner's. Partners are a permutation of the
        whole batch, so sums over its labels are the same for both.
    """

    labels: Labels
    share: float


@dataclass(frozen=True)
class Maps:
    """What a block of a model gives, by pieces: an example is one or more (a long text is several chunks).

    Attributes
    ----------
    values
        ``(pieces, channels, height, width)``, channels last in some networks; ``(pieces, length, width)`` of
        token sequences; ``(pieces, width)`` behind a pooling.
    owners
        ``int64 (pieces,)``: the example that each belongs to, by its place in the slice.
    weights
        ``float32 (pieces,)``: its share of the example.
    lengths
        ``int64 (pieces,)``: how much of the second dimension is no padding; None where nothing is padded.
    """

    values: Tensor
    owners: Tensor
    weights: Tensor
    lengths: Tensor | None = None


def _not_given(*names: str) -> NoReturn:
    raise PlanError(f"this step gives no features, weights or other facts of {' and '.join(names)}")


@dataclass(frozen=True)
class StepContext:
    """What a term may read in one step.

    Attributes
    ----------
    outputs
        ``outputs(model, stream)``: what a named model gives for the stream's batch, computed once per step.
    labels
        By stream, then by output: labels of the examples that are looked at, encoded as TaskSpec says.
    tasks
        By output.
    sizes
        By stream: how many examples the whole batch has, of which a slice may be looked at.
    known
        By stream, then by output: how many examples of the whole batch have that label.
    whole
        By stream, then by output: the labels of the whole batch.
    partners
        By stream, where its examples are mixed in pairs: with what.
    frequencies
        By stream, then by output with classes: how often each class occurs among all of the stream's
        examples, ``Float[Tensor, "K"]``.
    counts
        By stream: how many of the whole batch's examples are looked at; see :meth:`share`.
    features
        ``features(model, stream)``: what the model's heads read, ``Float[Tensor, "examples width"]``,
        computed in the same pass as its outputs.
    weights
        ``weights(model)``: the parameters that the stage trains, by name, as they are now.
    start
        ``start(model)``: the same parameters as the link gave them, for terms that say that they need them
        (:attr:`Term.needs`).
    carried
        ``carried(model)``: names of the parameters that receive source weights, in part or whole; what the
        stage trains beside them is specific to the target.
    maps
        ``maps(model, stream, block)``: the activations after a named block, from the same pass as the
        outputs, for blocks that the term names (:attr:`Term.blocks`).
    """

    outputs: Callable[[str, str], Outputs]
    labels: Mapping[str, Labels]
    tasks: Mapping[str, Task]
    sizes: Mapping[str, int]
    known: Mapping[str, Mapping[str, int]]
    whole: Mapping[str, Labels] = field(default_factory=dict)
    partners: Mapping[str, Partner] = field(default_factory=dict)
    frequencies: Mapping[str, Labels] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    features: Callable[[str, str], Tensor] = _not_given
    weights: Callable[[str], Mapping[str, Tensor]] = _not_given
    start: Callable[[str], Mapping[str, Tensor]] = _not_given
    carried: Callable[[str], frozenset[str]] = _not_given
    maps: Callable[[str, str, str], Maps] = _not_given

    def share(self, stream: str) -> float:
        """Which share of a stream's batch is looked at: 1 but where the batch is computed in slices.

        What is no mean over examples is multiplied by it, so that slices of a batch add up.
        """
        return self.counts.get(stream, self.sizes[stream]) / max(self.sizes[stream], 1)


@dataclass(frozen=True)
class Pass:
    """What a model that the stage does not train gave for some examples of a stream, read as they are.

    Attributes
    ----------
    outputs
        By output name, ``Float[Tensor, "examples K"]``.
    maps
        By name of each block that was asked for, its activations: gradients of what is computed from the
        outputs can be taken with respect to their ``values``, and to nothing else.
    labels
        By output; empty where the stream is not labelled.
    """

    outputs: Outputs
    maps: Mapping[str, Maps]
    labels: Labels


def _no_passes(model: str, stream: str, blocks: tuple[str, ...]) -> NoReturn:
    _not_given(model, stream)


@dataclass(frozen=True)
class StageContext:
    """What a term may read once, before the first step of its stage.

    Attributes
    ----------
    tasks
        By output.
    heads
        ``heads(model)``: by output, the heads of a model that the stage reads.
    specs
        ``specs(model)``: by output, what kind of task the model's heads solve, and its classes: those of the
        target, or of the model's source (``heads: source``).
    width
        ``width(model)``: how many features its heads read.
    features
        ``features(model, stream)``: of every example that the stream reads, as it is, the features that a
        model gives which the stage does not train, ``Float[Tensor, "examples width"]``, and its labels by
        output. Computed once, so that what follows from them is the same in a run that goes on.
    frozen
        The models that do not move in the stage.
    passes
        ``passes(model, stream, blocks)``: every example that the stream reads, some at a time, run through a
        frozen model with the activations after these blocks kept for gradients.
    examples
        By stream of the target: how many examples it reads.
    """

    tasks: Mapping[str, Task]
    heads: Callable[[str], Mapping[str, nn.Module]]
    specs: Callable[[str], Mapping[str, TaskSpec]]
    width: Callable[[str], int]
    features: Callable[[str, str], tuple[Tensor, Labels]]
    frozen: frozenset[str] = frozenset()
    passes: Callable[[str, str, tuple[str, ...]], Iterable[Pass]] = _no_passes
    examples: Mapping[str, int] = field(default_factory=dict)

    def same_width(self, term: str, one: str, other: str) -> None:
        """Raise :class:`PlanError` unless the features of two models have one width."""
        widths = self.width(one), self.width(other)
        if widths[0] != widths[1]:
            raise PlanError(
                f"the term {term!r} compares features of {one!r} ({widths[0]} numbers) with those of "
                f"{other!r} ({widths[1]}): take a source with as many, or compare predictions (distillation)"
            )

    def must_know(self, model: str, outputs: Iterable[str]) -> None:
        """Raise :class:`PlanError` for a model without a head for these outputs that says something."""
        for output in outputs:
            head = self.heads(model).get(output)
            if head is None or not any(bool(parameter.any()) for parameter in head.parameters()):
                raise PlanError(
                    f"the model {model!r} knows nothing of the output {output!r}: its head is 0, or it "
                    f"has none. Solve it in a stage before (kind: solve, solver: ridge, model: {model}), "
                    "or name a finished run on the same classes as its source"
                )


@dataclass(frozen=True)
class TermValue:
    """A term's value, a scalar, and what each example of its first stream added, for finding culprits.

    A mean over examples is divided by the count of the whole batch: slices of a batch add up to it.

    ``left`` is what the examples leave for the term's state, a row for each; see :meth:`Term.after_step`.
    """

    total: Tensor
    per_example: Tensor
    left: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of_batch(cls, value: Tensor, context: StepContext, stream: str) -> TermValue:
        """A value of a whole batch that is no mean over its examples, as a penalty on weights is.

        A slice has its share of it, and each example an equal one.
        """
        each = value.detach() / max(context.sizes[stream], 1)
        count = context.counts.get(stream, context.sizes[stream])
        return cls(value * context.share(stream), each.expand(count))


class Term(abc.ABC):
    """Computes one number per step from models, streams and labels; the plan gives it its weight.

    Parameters
    ----------
    models, streams, outputs
        Names, as the plan's term says; empty outputs means all.
    options
        What the plan says beyond that. Raises :class:`PlanError` for an option that there is not.
    """

    takes: ClassVar[tuple[str, ...]] = ()
    """Names of its options."""
    reads_labels: ClassVar[bool] = False
    """Whether its streams have to be labelled."""
    kinds: ClassVar[tuple[str, ...]] = ()
    """Kinds of the outputs that it can look at; any where empty."""
    needs: ClassVar[frozenset[str]] = frozenset()
    """What it reads beyond outputs, features and labels: ``weights`` (which then have to be whole, not
    divided among processes), ``start`` (which is kept for it)."""
    reads_models: ClassVar[tuple[int, int]] = (1, 1)
    """How many models it reads, at least and at most."""
    own: nn.Module | None = None
    """What :meth:`make_module` made, once its stage has begun."""
    state: Mapping[str, Tensor] = MappingProxyType({})
    """What it remembers from step to step, once its stage has begun; see :meth:`make_state`."""

    def __init__(
        self,
        *,
        models: tuple[str, ...],
        streams: tuple[str, ...],
        outputs: tuple[str, ...],
        options: Mapping[str, Any],
    ):
        self.models, self.streams, self.outputs, self.options = models, streams, outputs, options
        least, most = self.reads_models
        if not least <= len(models) <= most:
            wanted = f"{least}" if least == most else f"{least} to {most}"
            raise PlanError(
                f"the term {self.name!r} reads {wanted} model{'s' * (most > 1)} and names "
                f"{', '.join(models) or 'none'}: --set terms.N.models=[..]"
            )
        strange = [name for name in options if name not in self.takes]
        if strange:
            raise PlanError(
                f"the term {self.name!r} has no option {', '.join(strange)}; it has: "
                f"{', '.join(self.takes) or 'none'}{did_you_mean(strange[0], self.takes)}"
            )

    @property
    def name(self) -> str:
        """What plans call it: the class's name in small letters, words joined by dashes."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", type(self).__name__).lower()

    @property
    def blocks(self) -> tuple[str, ...]:
        """Names of the blocks of its models whose activations it reads."""
        return ()

    def looked_at(self, tasks: Mapping[str, Task]) -> tuple[str, ...]:
        """Names of the outputs that it looks at."""
        return self.outputs or tuple(tasks)

    def check(self, tasks: Mapping[str, Task]) -> None:
        """Raise :class:`PlanError` where it cannot be computed for these tasks."""
        strange = [name for name in self.outputs if name not in tasks]
        if strange:
            raise PlanError(
                f"the term {self.name!r} looks at the output {', '.join(strange)}; the data have: "
                f"{', '.join(tasks)}"
            )
        kinds = {name: tasks[name].spec.kind for name in self.looked_at(tasks)}
        wrong = [f"{name} is for {kind}" for name, kind in kinds.items() if kind not in self.kinds]
        if self.kinds and wrong:
            raise PlanError(
                f"the term {self.name!r} is for outputs of the kind {' or '.join(self.kinds)}, and "
                f"{', '.join(wrong)}: name the outputs that it is for, as in outputs: [label]"
            )

    def prepare(self, stage: StageContext) -> None:  # noqa: B027 - most terms have nothing to learn
        """Learn what it has to know before the first step: a function of the plan and the data alone.

        It is called anew in a run that goes on, after ``own`` was made and before that is put back.
        """

    def make_module(self, stage: StageContext) -> nn.Module | None:
        """Parts of its own that are trained, as a projector; None where it has none.

        They learn at the head's rate, are kept in checkpoints, and are no part of the model that a run
        leaves. Random numbers drawn here are a function of seed, stage and term.
        """
        return None

    def make_state(self, stage: StageContext) -> dict[str, Tensor]:
        """What it remembers before the first step, as an empty queue; nothing for most terms.

        States are in checkpoints, equal in all processes, and no part of the model that a run leaves. They
        change in :meth:`after_step` alone: a value may depend on them, and never the other way round.
        """
        return {}

    def after_step(self, left: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What it remembers once a step was taken: a function of its state and of what the step left.

        ``left`` has the rows of :attr:`TermValue.left` of all slices of the step's batches, in their order.
        """
        return dict(self.state)

    @abc.abstractmethod
    def __call__(self, context: StepContext) -> TermValue:
        """The value for one step."""
