"""Plans that train a few parameters of every block."""

from __future__ import annotations

from collections.abc import Sequence

from regraft.core.errors import PlanError
from regraft.plans import GroupSpec, OptimiserSpec, Plan, TrainStage
from regraft.strategies.base import (
    EPOCHS,
    HEAD_RATE,
    RATE,
    WEIGHT_DECAY,
    cut_before,
    solved_head,
    until,
    written,
)
from regraft.strategies.choosing import blocks_with, patterns_of
from regraft.strategies.strategy import Situation, supervised_term

FEW_RATE = 3e-4
"""Everywhere the rate of the last block in ``lpft``. At 1e-3 a head that was solved on 160 digits got worse
with the biases: validation loss 0.45 to 0.61 in two epochs, and 0.46 at this rate."""


def sparse_plan(name: str, situation: Situation, parameters: Sequence[str], *, what: str) -> Plan:
    """Solve the head, then train these parameters with it, and blocks that nothing carries over to whole.

    ``what`` is the word for one of ``parameters``, which the network may have none of.
    """
    if not parameters:
        raise PlanError(
            f"{name} trains each {what} of the network, and that of {situation.link.graft.source.name} has "
            "none. Take --strategy lpft"
        )
    new = situation.fresh_blocks
    few = patterns_of(situation, parameters)
    holding = {*blocks_with(situation, parameters), *new}
    cut = cut_before(situation, tuple(block for block in situation.all_blocks if block in holding))
    fresh = (GroupSpec(match=new, rate=RATE, weight_decay=WEIGHT_DECAY),) if new else ()
    # A block that is trained whole may hold every parameter that a pattern means.
    left = set(blocks_with(situation, parameters)) - set(new)
    groups = (GroupSpec(match=few, rate=FEW_RATE),) if left else ()
    tune = TrainStage(
        name="tune",
        terms=supervised_term(),
        trainable=(*new, *few, "head"),
        norm_statistics="frozen",
        frozen_prefix=cut,
        groups=(GroupSpec(match=("head",), rate=HEAD_RATE), *fresh, *groups),
        optimiser=OptimiserSpec(name="adamw", clip=1.0),
        stop=until(EPOCHS),
    )
    return written(name, situation, (solved_head(), tune), views=int(cut is None))
