"""The Plan's schema: everything that can be asked of the engine, as data.

A strategy writes a Plan; the engine executes it and knows no strategy's name. What a term, a solver or a
combine rule computes is named here and defined in ``regraft.terms``; the engine refuses names that it has no
definition for, before anything is run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PositiveFloat,
    PositiveInt,
    Tag,
    model_validator,
)

from regraft.core.augmentation import DEFAULT_AUGMENTATION, Augmentation
from regraft.plans.references import Problems, dangling

PLAN_VERSION: Literal[3] = 3
READABLE_VERSIONS = (1, 2, 3)
"""Earlier versions said less; what they did not say has defaults that mean what they meant."""

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
NotNegative = Annotated[float, Field(ge=0.0)]
Name = Annotated[str, Field(min_length=1, max_length=100)]
Options = dict[str, Any]
Measure = Literal["loss", "calibrated loss"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSpec(_Part):
    """One named model (student, teacher, frozen source, moving average) and its link."""

    source: Annotated[str, Field(max_length=1000)] = ""
    """Name of the source, as in ``packaged:efficientnet-lite0``, or of several, ``A+B``; a moving average has
    its model's."""
    options: Options = {}
    """What the source is opened with, as in ``size: 96``."""
    network: str = ""
    """Name of the source whose network the model has; empty for the source's own, ``user`` for one whose
    builder is handed over."""
    network_options: Options = {}
    """What that network is opened with."""
    initialise: Literal["linked", "fresh"] = "linked"
    """Weights from the link, or every layer from scratch."""
    require: Fraction = 1.0
    """Least share of the shared parameters that the link has to cover."""
    map: tuple[str, ...] = ()
    """Renamings, ``REGEX=>TO``, that help the link."""
    waive: tuple[str, ...] = ()
    """Patterns of rows that are excused from being covered."""
    heads: Literal["target", "source"] = "target"
    """The target's heads, or the source's own, which tell apart what the source was trained for; such a model
    is read by terms and never trained."""
    average_of: Name | None = None
    """The model that this one is the moving average of."""
    decay: Fraction | None = None
    """Decay of the moving average per step, 0.999 if not given; see ``engine/moving_average.py``."""
    average: Literal["moving", "equal"] = "moving"
    """Of an average: older steps fade, or the weights after all steps count alike (SWA)."""
    begin: Fraction = 0.0
    """Of an equal average: the share of a stage's steps before which it is only a copy."""

    @model_validator(mode="after")
    def _has_an_origin(self) -> ModelSpec:
        if not self.source and self.average_of is None:
            raise ValueError("a model has a source, or is the average_of another one")
        if self.decay is not None and self.average_of is None:
            raise ValueError("decay is for a moving average: say average_of")
        if self.average == "equal" and (self.average_of is None or self.decay is not None):
            raise ValueError("an equal average is the average_of a model and has no decay")
        if self.begin > 0 and self.average != "equal":
            raise ValueError("begin is for an equal average: say average: equal")
        return self


class MixSpec(_Part):
    """How pairs of examples are mixed; see ``engine/mixing.py``. Both at 0: not at all."""

    mixup: Annotated[float, Field(ge=0.0)] = 0.0
    """Alpha of mixup (Zhang et al. 2018): shares are drawn from Beta(alpha, alpha)."""
    cutmix: Annotated[float, Field(ge=0.0)] = 0.0
    """Alpha of CutMix (Yun et al. 2019). With both, each mixed batch is of one kind, each as often."""
    share: Fraction = 1.0
    """Share of the batches that are mixed."""


class StreamSpec(_Part):
    """One named stream of examples: what is read, in which views, how many at a time."""

    reads: Literal["target", "source", "unlabelled", "rollouts"] = "target"
    part: Literal["train", "validation", "all"] = "train"
    """Of the run's own target; of other data every example is read."""
    data: str | None = None
    """Where the examples lie, if they are not the run's own target; data in memory are handed over."""
    options: Options = {}
    """What other data are loaded with, as in ``label: kind``."""
    labelled: bool = True
    heads: Literal["shared", "own"] = "shared"
    """Of labelled other data: whether their labels are those of the run's own outputs, by the names of the
    classes, or get outputs of their own, ``STREAM.OUTPUT``, whose heads are trained, then dropped."""
    batch: PositiveInt = 32
    views: Annotated[int, Field(ge=0)] = 0
    """Random views of each example: 0 reads it as it is. Behind a frozen prefix there are so many, computed
    once, and epochs take turns; without one each step has a view of its own."""
    augment: Augmentation = DEFAULT_AUGMENTATION
    """Which random changes a view may show."""
    mix: MixSpec = MixSpec()
    """Whether pairs of examples are mixed."""

    @model_validator(mode="after")
    def _has_labels_for_its_heads(self) -> StreamSpec:
        if self.heads == "own" and self.reads != "source":
            raise ValueError("heads of its own are for a stream of labelled other data: say reads: source")
        return self


class Schedule(_Part):
    """A weight that changes over a stage, from ``start`` to ``end`` between two fractions of its steps."""

    schedule: Literal["linear", "cosine", "sigmoid"]
    start: NotNegative
    end: NotNegative
    begin: Fraction = 0.0
    finish: Fraction = 1.0


class Learned(_Part):
    """A weight that is learned, by the named rule, from a start value."""

    learned: Name
    start: float = 1.0
    options: Options = {}


def _weight_kind(given: Any) -> str:
    """Which kind of weight is meant, so that a mistake in it is told of that kind alone."""
    if isinstance(given, Mapping):
        return "a schedule" if {"schedule", "end"} & given.keys() else "learned weight"
    if isinstance(given, Schedule):
        return "a schedule"
    return "learned weight" if isinstance(given, Learned) else "a number"


Weight = Annotated[
    Annotated[NotNegative, Tag("a number")]
    | Annotated[Schedule, Tag("a schedule")]
    | Annotated[Learned, Tag("learned weight")],
    Discriminator(_weight_kind),
]


class TermSpec(_Part):
    """One term of the objective: what it computes x weight x the streams and models that it reads."""

    computes: Name
    weight: Weight = 1.0
    streams: tuple[Name, ...] = ()
    models: tuple[Name, ...] = ()
    outputs: tuple[Name, ...] = ()
    """Names of the outputs it looks at; all where empty."""
    reads: tuple[Name, ...] = ()
    """Artefacts of earlier stages."""
    options: Options = {}


class EditSpec(_Part):
    """A change of a model's layers for one stage, as low-rank adapters are; see ``engine/edits``."""

    edit: Name
    model: Name = "student"
    match: tuple[str, ...] = ("*",)
    """Patterns over block names or the layers' own paths; of what they name, what the edit can change."""
    options: Options = {}


class GroupSpec(_Part):
    """Parameters that share a rate: patterns over block names or parameter names, first match wins."""

    match: tuple[str, ...]
    rate: Annotated[float, Field(ge=0.0)] | Literal["auto"]
    """``auto`` finds one by a range test on training batches when the stage begins."""
    scale: Literal["none", "relative-gradient"] = "none"
    """``relative-gradient`` multiplies the rate by how large the group's gradient is beside its weights when
    the stage begins, as a share of the largest among such groups; see ``engine/relative_gradient.py``."""
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.0

    @model_validator(mode="after")
    def _scales_a_number(self) -> GroupSpec:
        if self.rate == "auto" and self.scale != "none":
            raise ValueError("a rate that is found is not scaled: give the rate of the largest share")
        return self


class OptimiserSpec(_Part):
    """Which optimiser, with which options."""

    name: Literal["adamw", "sgd"] = "adamw"
    momentum: Fraction = 0.9
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    clip: PositiveFloat | None = 1.0
    """Largest norm of the whole gradient; None does not clip."""
    accumulate: PositiveInt = 1


class RateSchedule(_Part):
    """How every group's rate moves over the stage: warm-up, then the named shape down to ``floor`` x rate.

    The formulas and papers are in ``engine/schedules.py``.
    """

    name: Literal[
        "constant",
        "linear",
        "cosine",
        "one-cycle",
        "triangular",
        "step",
        "exponential",
        "polynomial",
        "restarts",
    ] = "cosine"
    warmup: Fraction = 0.1
    """Share of the steps on the way up."""
    floor: Fraction = 0.0
    """Lowest share of the rate."""
    start: Fraction = 0.04
    """Of ``one-cycle``: the share of the rate that it begins with."""
    milestones: tuple[Fraction, ...] = (0.5, 0.75)
    """Of ``step``: shares of the steps after which the rate is multiplied by ``gamma``."""
    gamma: Fraction = 0.1
    power: PositiveFloat = 2.0
    """Of ``polynomial``."""
    cycles: PositiveInt = 3
    """Of ``restarts``: how many times the cosine comes down, each ``growth`` times as long as the last."""
    growth: PositiveInt = 2

    @model_validator(mode="after")
    def _comes_down(self) -> RateSchedule:
        if self.name == "exponential" and self.floor == 0:
            raise ValueError("an exponential never reaches 0: give the share it ends with, as in floor: 0.01")
        return self


class CombineSpec(_Part):
    """How the terms' gradients become one step."""

    rule: Name = "sum"
    options: Options = {}


class StopSpec(_Part):
    """When a stage ends: whichever comes first. The weights with the best validation loss are kept.

    ``measure`` says which: ``calibrated loss`` is the loss at the temperature that suits the validation
    examples best. Training makes networks surer than they are right (Guo et al. 2017), and the plain loss
    then rises while they still learn; a stage ``temperature`` after it sets how sure they are.
    """

    epochs: PositiveInt | None = None
    steps: PositiveInt | None = None
    seconds: PositiveFloat | None = None
    patience: PositiveInt | None = None
    """Epochs without a better validation loss."""
    measure: Measure = "loss"
    keep: Literal["best", "last"] = "best"
    judge: Name | None = None
    """The moving average whose validation loss decides, and whose weights the stage leaves in its model."""

    @model_validator(mode="after")
    def _ends(self) -> StopSpec:
        if self.epochs is None and self.steps is None and self.seconds is None:
            raise ValueError("a train stage has to end: give epochs, steps or seconds")
        return self


class _Stage(_Part):
    name: Name
    reads: tuple[Name, ...] = ()
    """Artefacts of earlier stages."""
    produces: tuple[Name, ...] = ()
    """Artefacts that this stage leaves for later ones."""


class SolveStage(_Stage):
    """A closed form or a convex problem: ridge, logistic regression, alignment, clustering, temperature."""

    kind: Literal["solve"] = "solve"
    solver: Name
    model: Name = "student"
    streams: tuple[Name, ...] = ("target",)
    """Labelled examples that heads are fitted to, those of all streams together: the target, or other data of
    the same classes or with heads of their own."""
    outputs: tuple[Name, ...] = ()
    """Names of the outputs whose heads it fits; all where empty."""
    refit: bool = False
    """Fit once more on train and validation together after the choice was made on train alone."""
    when: Literal["always", "unmoved"] = "always"
    """``unmoved``: only where every train stage before it kept the weights that it began with."""
    options: Options = {}


class TrainStage(_Stage):
    """Gradient steps."""

    kind: Literal["train"] = "train"
    terms: tuple[TermSpec, ...]
    model: Name = "student"
    """The model whose layers ``trainable`` and ``frozen_prefix`` name."""
    edits: tuple[EditSpec, ...] = ()
    trainable: tuple[str, ...] = ("*",)
    """Patterns over block names (``head`` is the heads), parameter names, or edits (what they add)."""
    norm_statistics: Literal["move", "frozen"] = "move"
    """Whether batch norm in trained blocks goes on collecting statistics; frozen ones suit small batches."""
    frozen_prefix: str | None = None
    """Last block of the prefix that is frozen and computed once; None computes every block in each step."""
    groups: tuple[GroupSpec, ...]
    optimiser: OptimiserSpec = OptimiserSpec()
    schedule: RateSchedule = RateSchedule()
    combine: CombineSpec = CombineSpec()
    stop: StopSpec


class AverageStage(_Stage):
    """Weights from weights: a soup, or an interpolation between what earlier stages left."""

    kind: Literal["average"] = "average"
    model: Name = "student"
    of: tuple[Name, ...]
    """Names of stages whose final weights are averaged; ``initial`` is the linked model."""
    rule: Name = "mean"
    measure: Measure = "loss"
    """Which validation loss decides, where the rule chooses."""
    options: Options = {}


Stage = Annotated[SolveStage | TrainStage | AverageStage, Field(discriminator="kind")]
STAGE_KINDS = ("solve", "train", "average")


class DrawSpec(_Part):
    """Which labelled examples of the target's pool are used for training and validation together."""

    validation: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.2
    train_size: PositiveInt | None = None
    per_class: PositiveInt | None = None


class Plan(_Part):
    """What is done, stage by stage: data, not code. Print it, edit it, share it."""

    version: Literal[3] = PLAN_VERSION
    strategy: str = ""
    """Who wrote it; for people, never for the engine."""
    seed: Annotated[int, Field(ge=0)] = 0
    draw: DrawSpec = DrawSpec()
    models: dict[Name, ModelSpec]
    streams: dict[Name, StreamSpec]
    stages: tuple[Stage, ...] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _of_today(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("version") in READABLE_VERSIONS:
            return {**data, "version": PLAN_VERSION}
        return data

    @model_validator(mode="after")
    def _hangs_together(self) -> Plan:
        problems = dangling(self)
        if problems:
            raise Problems(problems)
        return self
