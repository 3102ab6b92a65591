"""partial: the last blocks and a new head are trained, all that stands in front of them is frozen."""

from __future__ import annotations

from regraft.plans import GroupSpec, OptimiserSpec, Plan, TrainStage
from regraft.strategies.base import (
    EPOCHS,
    NEW_HEAD_RATE,
    RATE,
    WEIGHT_DECAY,
    check_blocks,
    cut_before,
    last_blocks,
    until,
    with_fresh,
    written,
)
from regraft.strategies.strategy import Situation, Strategy, supervised_term


class Partial(Strategy):
    """Fine-tune the last blocks at one rate, with a head that starts at zero.

    ``partial`` trains the last 3 blocks that hold parameters, ``partial:5`` the last 5, ``partial:0`` the
    head alone, by gradient steps; ``partial:all`` is ``full`` but for its batch-norm statistics. Blocks that
    nothing carries over to are trained too. What is in front of them all is frozen and computed once.

    Source: Yosinski et al. (2014), "How transferable are features in deep neural networks?", whose networks
    AnB keep their first n layers as they are. Changed for small data: AdamW, the trunk at 0.3 of the head's
    rate and from the source's weights instead of fresh ones, batch-norm statistics of the source, early
    stopping.
    """

    name = "partial"
    takes = "how many of the last blocks are trained (3), or all"
    when = "as lpft, where labels are too many or too noisy for a head in closed form"
    cite = "Yosinski et al.: How transferable are features in deep neural networks? NeurIPS 2014"

    def check_argument(self) -> None:
        """A number of blocks, or ``all``."""
        check_blocks(self.name, self.argument)

    def plan(self, situation: Situation) -> Plan:
        """One train stage over the last blocks."""
        tuned = with_fresh(situation, last_blocks(situation, self.argument))
        cut = cut_before(situation, tuned)
        blocks = (GroupSpec(match=tuned, rate=RATE, weight_decay=WEIGHT_DECAY),) if tuned else ()
        tune = TrainStage(
            name="tune",
            terms=supervised_term(),
            trainable=(*tuned, "head"),
            norm_statistics="frozen",
            frozen_prefix=cut,
            groups=(GroupSpec(match=("head",), rate=NEW_HEAD_RATE, weight_decay=WEIGHT_DECAY), *blocks),
            optimiser=OptimiserSpec(name="adamw", clip=1.0),
            stop=until(EPOCHS),
        )
        return written(self.name, situation, (tune,), views=int(cut is None))
