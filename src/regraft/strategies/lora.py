"""lora: the source's weights stay, and a change of low rank is trained beside them."""

from __future__ import annotations

from regraft.plans import EditSpec, Plan
from regraft.strategies.editing import check_rank, edited_plan, mixing_layers, patterns_of
from regraft.strategies.strategy import Situation, Strategy

RANK = 8
RATE = 1e-3


class LoRA(Strategy):
    """Start the head at the probe's solution, then train it with low-rank changes in every block.

    ``lora`` has rank 8, ``lora:4`` rank 4. Edited are the Linear layers of attention, in a convolutional
    network the pointwise convolutions; what was learned is merged, so the result is as large and as fast as
    the source.

    Source: Hu et al. (2022), "LoRA: Low-rank adaptation of large language models", which edits queries and
    values; all four layers of attention do as well at half the rank (its table 5). Changed for small data: a
    solved head, batch-norm statistics of the source, 15 epochs. Convolutions are not in the paper.
    """

    name = "lora"
    when = "a large transformer that does not fit when all of it is trained, or many results from one source"
    cite = "Hu et al.: LoRA: Low-rank adaptation of large language models. ICLR 2022"

    takes = "the rank of each layer's change (8)"

    def check_argument(self) -> None:
        """A rank."""
        check_rank(self.name, self.argument)

    def plan(self, situation: Situation) -> Plan:
        """A solve stage for the head and a train stage with an edit."""
        edit = EditSpec(
            edit=self.name,
            match=patterns_of(situation, mixing_layers(situation, self.name)),
            options={"rank": int(self.argument or RANK)},
        )
        return edited_plan(situation, self.name, edit, RATE)
