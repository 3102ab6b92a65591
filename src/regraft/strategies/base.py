"""What plans of several strategies share: the solved head, the cut, rates that fall towards the stem."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from regraft.core.errors import PlanError
from regraft.plans import (
    GroupSpec,
    ModelSpec,
    OptimiserSpec,
    Plan,
    SolveStage,
    Stage,
    StopSpec,
    StreamSpec,
    TermSpec,
    TrainStage,
)
from regraft.strategies.strategy import Situation, supervised_term, target_stream

LAST_BLOCKS = 3
RATE = 3e-4
HEAD_RATE = 1e-4
"""Of a head that was solved; one that starts at zero learns at :data:`NEW_HEAD_RATE`."""
NEW_HEAD_RATE = 1e-3
EPOCHS = 15
"""No patience: the rate falls to nothing, and what it did harm to at its height mends at the end. On digits,
50 labels each, stopping after 5 worse epochs left a calibrated validation loss of 0.26, going on 0.11."""
COOLING, WAY_BACK = "temperature", "head again"
"""Names of the stages with which every training ends; see :func:`rounded_off`."""
WEIGHT_DECAY = 0.01
DECAY_PER_BLOCK = 0.75
"""Each block further from the head learns at this share of the rate of the one behind it."""


def written(
    name: str,
    situation: Situation,
    stages: Sequence[Stage],
    *,
    views: int = 0,
    models: Mapping[str, ModelSpec] | None = None,
    streams: Mapping[str, StreamSpec] | None = None,
) -> Plan:
    """The plan of the strategy ``name``: these stages for the linked student and the target's examples.

    ``models`` and ``streams`` are what the plan has beside ``student`` and ``target``; one that bears such a
    name takes its place.
    """
    return Plan(
        strategy=name,
        seed=situation.seed,
        draw=situation.draw,
        models={**situation.student(), **(models or {})},
        streams={**target_stream(views=views), **(streams or {})},
        stages=tuple(stages),
    )


def check_blocks(name: str, argument: str) -> None:
    """Raise :class:`PlanError` for an argument that is neither a number of blocks nor ``all``."""
    if argument and argument != "all" and not argument.isdigit():
        raise PlanError(f"{name} takes a number of blocks or 'all' behind its colon; got {argument!r}")


def last_blocks(situation: Situation, argument: str, *, default: int = LAST_BLOCKS) -> tuple[str, ...]:
    """The last blocks that hold parameters: ``default`` of them, as many as the argument says, or all."""
    count = int(argument) if argument.isdigit() else len(situation.blocks) if argument else default
    return situation.blocks[-count:] if count else ()


def with_fresh(situation: Situation, last: tuple[str, ...]) -> tuple[str, ...]:
    """Last blocks, and those in front of them that nothing carries over to, stem to head.

    Where no block is to be trained, none is added.
    """
    new = tuple(block for block in situation.fresh_blocks if last and block not in last)
    return (*new, *last)  # what is not among the last stands in front of them


def cut_before(situation: Situation, tuned: Sequence[str]) -> str | None:
    """The last block in front of the first one that is tuned; None where that is the first of all."""
    if not tuned:
        return situation.all_blocks[-1]
    first = min(situation.all_blocks.index(block) for block in tuned)
    return situation.all_blocks[first - 1] if first else None


def graded_groups(
    blocks: Sequence[str],
    rate: float,
    *,
    decay: float = DECAY_PER_BLOCK,
    weight_decay: float = WEIGHT_DECAY,
) -> tuple[GroupSpec, ...]:
    """One group a block: block ``i`` of ``n`` learns at ``rate * decay ** (n - 1 - i)``."""
    last = len(blocks) - 1
    return tuple(
        GroupSpec(match=(block,), rate=rounded(rate * decay ** (last - i)), weight_decay=weight_decay)
        for i, block in enumerate(blocks)
    )


def rounded(rate: float) -> float:
    """A rate as a person would write it: three digits."""
    return float(f"{rate:.3g}")


def solved_head() -> SolveStage:
    """The head of every output in closed form on frozen features, before anything is trained."""
    return SolveStage(name="head", solver="ridge")


def until(epochs: int, patience: int | None = None) -> StopSpec:
    """The end of a stage whose weights are chosen by what they know, not by how sure they are of it.

    Fine-tuned on few labels, networks grow sure before they stop learning: on 8 sections of package
    descriptions, 50 labels each, accuracy on validation rose from 70 to 81% while the loss rose from 0.97 to
    1.08.
    """
    return StopSpec(epochs=epochs, patience=patience, measure="calibrated loss")


def rounded_off(plan: Plan, situation: Situation) -> Plan:
    """The plan with what every training ends with.

    - A temperature, where an output has classes: it is what :func:`until` leaves open.
    - A way back. The head that a train stage starts from is solved without the validation examples, which
      have to judge the stage. Where it keeps its start there is nothing left to judge, and the head is solved
      once more with all labels: the whole of what ``probe`` does.
    """
    if not any(isinstance(stage, TrainStage) for stage in plan.stages):
        return plan
    last: list[Stage] = []
    if any(task.spec.kind != "regression" for task in situation.link.graft.tasks):
        last.append(SolveStage(name=COOLING, solver="temperature"))
    if solved_head() in plan.stages:
        last.append(SolveStage(name=WAY_BACK, solver="ridge", refit=True, when="unmoved"))
    return plan.model_copy(update={"stages": (*plan.stages, *last)})


def tuned_plan(
    name: str,
    situation: Situation,
    *,
    argument: str = "",
    terms: Sequence[TermSpec] = (),
    models: Mapping[str, ModelSpec] | None = None,
    streams: Mapping[str, StreamSpec] | None = None,
    before: Sequence[Stage] = (),
    weight_decay: float = WEIGHT_DECAY,
) -> Plan:
    """Solve the head, then tune the last blocks with it: ``lpft``, and whatever adds terms to it.

    Parameters
    ----------
    name
        The strategy that the plan is of.
    argument
        How many of the last blocks are tuned, ``all``, or empty for 3; see :func:`check_blocks`.
    terms
        What is minimised beside the tasks' own losses on the target's labels.
    models, streams
        What these terms read beside ``student`` and ``target``.
    before
        Stages between the head's and the tuning.
    weight_decay
        Of the last blocks; 0 beside a term that says itself what weights are drawn to.
    """
    last = last_blocks(situation, argument)
    tuned = with_fresh(situation, last)
    new = tuned[: len(tuned) - len(last)]
    cut = cut_before(situation, tuned)
    groups = (
        *((GroupSpec(match=new, rate=RATE),) if new else ()),
        *graded_groups(last, RATE, weight_decay=weight_decay),
    )
    tune = TrainStage(
        name="tune",
        terms=(*supervised_term(), *terms),
        trainable=(*tuned, "head"),
        norm_statistics="frozen",
        frozen_prefix=cut,
        groups=(GroupSpec(match=("head",), rate=HEAD_RATE), *groups),
        optimiser=OptimiserSpec(name="adamw", clip=1.0),
        stop=until(EPOCHS),
    )
    # Views behind a cut are computed once for each; where every block moves, a view costs nothing.
    views = int(cut is None)
    return written(
        name, situation, (solved_head(), *before, tune), views=views, models=models, streams=streams
    )
