"""full: every layer is trained, from the source's weights."""

from __future__ import annotations

from regraft.plans import GroupSpec, OptimiserSpec, Plan, TrainStage
from regraft.strategies.base import EPOCHS, NEW_HEAD_RATE, RATE, WEIGHT_DECAY, until, written
from regraft.strategies.strategy import Situation, Strategy, supervised_term


class Full(Strategy):
    """Plain fine-tuning of the whole network with a zero-initialised head.

    Source: Yosinski et al. (2014), "How transferable are features in deep neural networks?". Defaults: AdamW,
    trunk at a third of the head's rate, cosine with warm-up, random views, the best of 15 epochs.
    """

    name = "full"
    when = "many labels (thousands) and time, or a target very unlike the source"
    cite = "Yosinski et al.: How transferable are features in deep neural networks? NeurIPS 2014"

    def plan(self, situation: Situation) -> Plan:
        """One train stage over everything."""
        tune = TrainStage(
            name="tune",
            terms=supervised_term(),
            groups=(
                GroupSpec(match=("head",), rate=NEW_HEAD_RATE, weight_decay=WEIGHT_DECAY),
                GroupSpec(match=("*",), rate=RATE, weight_decay=WEIGHT_DECAY),
            ),
            optimiser=OptimiserSpec(name="adamw", clip=1.0),
            stop=until(EPOCHS),
        )
        return written(self.name, situation, (tune,), views=1)
