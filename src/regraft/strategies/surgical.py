"""surgical: every block may move, and those that the target's loss pulls at most move fastest."""

from __future__ import annotations

from regraft.plans import GroupSpec, OptimiserSpec, Plan, TrainStage
from regraft.strategies.base import EPOCHS, HEAD_RATE, RATE, WEIGHT_DECAY, solved_head, until, written
from regraft.strategies.strategy import Situation, Strategy, supervised_term

LARGEST_RATE = 1e-4
"""Of the block with the largest share. At 3e-4 the first blocks of EfficientNet-Lite0, which have it on 160
digits, undid the solved head (validation loss 0.45 to 1.18 in an epoch; 0.50 at this rate)."""


class Surgical(Strategy):
    """Fine-tune the blocks whose gradient is large beside their weights; the others hardly move.

    With ``RGN_i = |g_i| / |w_i|`` for the block ``i``, measured on training batches when the stage begins,
    block ``i`` learns at ``r * RGN_i / max_j RGN_j``. A shift in the inputs pulls at the first blocks, one in
    what the classes mean at the last. Blocks that nothing carries over to learn at 3 ``r``.

    Source: Lee et al. (2023), "Surgical fine-tuning improves adaptation to distribution shifts", section 4,
    Auto-RGN. Changed for small data: the head starts at the probe's solution (one at zero would pull at no
    block), norms of blocks instead of single tensors and once instead of in each epoch, AdamW, batch-norm
    statistics of the source, 15 epochs.
    """

    name = "surgical"
    when = "a target that differs from the source in one respect, such as its sensor, and 20 labels a class"
    cite = "Lee et al.: Surgical fine-tuning improves adaptation to distribution shifts. ICLR 2023"

    def plan(self, situation: Situation) -> Plan:
        """A solve stage for the head and a train stage over everything, with a group for each block."""
        new = situation.fresh_blocks
        kept = [block for block in situation.blocks if block not in new]
        fresh = (GroupSpec(match=new, rate=RATE, weight_decay=WEIGHT_DECAY),) if new else ()
        scaled = tuple(
            GroupSpec(match=(block,), rate=LARGEST_RATE, scale="relative-gradient", weight_decay=WEIGHT_DECAY)
            for block in kept
        )
        tune = TrainStage(
            name="tune",
            terms=supervised_term(),
            norm_statistics="frozen",
            groups=(GroupSpec(match=("head",), rate=HEAD_RATE), *fresh, *scaled),
            optimiser=OptimiserSpec(name="adamw", clip=1.0),
            stop=until(EPOCHS),
        )
        return written(self.name, situation, (solved_head(), tune), views=1)
