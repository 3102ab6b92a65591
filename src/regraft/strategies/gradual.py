"""gradual: blocks are unfrozen from the head down, a stage for each group of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from regraft.core.errors import PlanError
from regraft.plans import (
    GroupSpec,
    OptimiserSpec,
    Plan,
    RateSchedule,
    StreamSpec,
    TrainStage,
)
from regraft.strategies.base import (
    HEAD_RATE,
    RATE,
    WEIGHT_DECAY,
    cut_before,
    rounded,
    solved_head,
    until,
    written,
)
from regraft.strategies.strategy import Situation, Strategy, supervised_term

GROUPS = 4
FALL = 2.6
"""A group learns at 1 / 2.6 of the rate of the one behind it."""
EPOCHS, LAST_EPOCHS = 3, 10
VARIED = "varied"
"""The stream of the stage that trains every block: the target's examples, each time in another view."""


class Gradual(Strategy):
    """Unfreeze group after group of blocks, head first, with discriminative and slanted triangular rates.

    The blocks that hold parameters are divided, stem to head, into ``k`` groups of about equal length
    (``gradual:3``; 4 otherwise, as many as ULMFiT's network has). Stage ``s`` of ``k`` trains the last ``s``
    groups and the head; group ``g`` behind which ``j`` others stand learns at ``r / 2.6 ** j``. Within a
    stage the rate is ``r (1 + p (32 - 1)) / 32`` with ``p`` rising from 0 to 1 over the first tenth of the
    steps and falling to 0 over the rest. Blocks that nothing carries over to are trained in every stage.

    Source: Howard and Ruder (2018), "Universal language model fine-tuning for text classification", sections
    3.2 and 3.3, equations 2 and 3. Changed for small data: the head starts at the probe's solution instead of
    an epoch of its own; a stage has 3 epochs, the last one 10, each with its own triangle, and the weights
    with the best validation loss go on; AdamW.
    """

    name = "gradual"
    takes = "how many groups of blocks are unfrozen one after the other (4)"
    when = "as lpft, where every block should move at last and seconds do not matter: several times as many"
    cite = "Howard, Ruder: Universal language model fine-tuning for text classification. ACL 2018"

    def check_argument(self) -> None:
        """A number of groups."""
        if self.argument and (not self.argument.isdigit() or int(self.argument) == 0):
            raise PlanError(
                f"gradual takes a number of groups behind its colon, as in gradual:3; got {self.argument!r}"
            )

    def plan(self, situation: Situation) -> Plan:
        """A solve stage for the head and a train stage for each unfreezing."""
        parts = divided(situation.blocks, int(self.argument or GROUPS))
        tunes = tuple(self._stage(situation, parts[-s:], s == len(parts)) for s in range(1, len(parts) + 1))
        varied = {VARIED: StreamSpec(views=1)} if tunes[-1].frozen_prefix is None else {}
        return written(self.name, situation, (solved_head(), *tunes), streams=varied)

    @staticmethod
    def _stage(situation: Situation, free: Sequence[tuple[str, ...]], last: bool) -> TrainStage:
        """The stage in which these groups, stem to head, are trained."""
        blocks = tuple(block for part in free for block in part)
        new = tuple(block for block in situation.fresh_blocks if block not in blocks)
        rates = [rounded(RATE / FALL ** (len(free) - 1 - g)) for g in range(len(free))]
        groups = tuple(
            GroupSpec(match=part, rate=rate, weight_decay=WEIGHT_DECAY)
            for part, rate in zip(free, rates, strict=True)
        )
        fresh = (GroupSpec(match=new, rate=RATE, weight_decay=WEIGHT_DECAY),) if new else ()
        cut = cut_before(situation, (*new, *blocks))
        # Behind a cut one random view would stand for the example itself in every epoch.
        stream = VARIED if last and cut is None else "target"
        return TrainStage(
            name="tune" if last else f"unfreeze-{len(free)}",
            terms=supervised_term(stream),
            trainable=(*new, *blocks, "head"),
            norm_statistics="frozen",
            frozen_prefix=cut,
            groups=(GroupSpec(match=("head",), rate=HEAD_RATE), *fresh, *groups),
            optimiser=OptimiserSpec(name="adamw", clip=1.0),
            schedule=RateSchedule(name="triangular", warmup=0.1, floor=1 / 32),
            stop=until(LAST_EPOCHS) if last else until(EPOCHS),
        )


def divided(blocks: tuple[str, ...], count: int) -> tuple[tuple[str, ...], ...]:
    """Blocks in up to ``count`` runs of about equal length, stem to head; no run is empty."""
    count = max(1, min(count, len(blocks)))
    ends = [round(len(blocks) * part / count) for part in range(count + 1)]
    return tuple(blocks[first:end] for first, end in pairwise(ends))
