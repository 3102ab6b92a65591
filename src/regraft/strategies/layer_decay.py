"""layer-decay: every block is trained, each at a share of the rate of the one behind it."""

from __future__ import annotations

from regraft.core.errors import PlanError
from regraft.plans import GroupSpec, OptimiserSpec, Plan, TrainStage
from regraft.strategies.base import (
    DECAY_PER_BLOCK,
    EPOCHS,
    NEW_HEAD_RATE,
    WEIGHT_DECAY,
    graded_groups,
    until,
    written,
)
from regraft.strategies.strategy import Situation, Strategy, supervised_term


class LayerDecay(Strategy):
    """Fine-tune the whole network with rates that fall geometrically from the head to the stem.

    With ``n`` blocks that hold parameters the head learns at ``r`` and block ``i``, counted from the stem, at
    ``r * d ** (n - i)``; the last block (``i = n - 1``) at ``r * d``. ``layer-decay:0.65`` sets ``d``, which
    is 0.75 otherwise; with 1 every layer learns at the head's rate.

    Source: Clark et al. (2020), "ELECTRA", section 3.1 and appendix B, who bring layer-wise decay to
    fine-tuning transformers, and Bao et al. (2022), "BEiT", who do so for images (0.65 to 0.75). Changed for
    small data: random views and 15 epochs; batches of 32 instead of hundreds.
    """

    name = "layer-decay"
    takes = "each block's share of its follower's rate (0.75)"
    when = "a transformer and a thousand labels or more; safer than full, as low layers hardly move"
    cite = (
        "Clark et al.: ELECTRA: pre-training text encoders as discriminators rather than generators. ICLR "
        "2020; Bao et al.: BEiT: BERT pre-training of image transformers. ICLR 2022"
    )

    def check_argument(self) -> None:
        """A number above 0 and up to 1."""
        try:
            valid = not self.argument or 0 < float(self.argument) <= 1
        except ValueError:
            valid = False
        if not valid:
            raise PlanError(
                f"layer-decay takes a number above 0 and up to 1 behind its colon, as in layer-decay:0.65; "
                f"got {self.argument!r}"
            )

    def plan(self, situation: Situation) -> Plan:
        """One train stage over everything, with a group for each block."""
        decay = float(self.argument or DECAY_PER_BLOCK)
        head = GroupSpec(match=("head",), rate=NEW_HEAD_RATE, weight_decay=WEIGHT_DECAY)
        tune = TrainStage(
            name="tune",
            terms=supervised_term(),
            groups=(head, *graded_groups(situation.blocks, NEW_HEAD_RATE * decay, decay=decay)),
            optimiser=OptimiserSpec(name="adamw", clip=1.0),
            stop=until(EPOCHS),
        )
        return written(self.name, situation, (tune,), views=1)
