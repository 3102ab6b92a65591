"""lpft: linear probing, then fine-tuning."""

from __future__ import annotations

from regraft.plans import Plan
from regraft.strategies.base import check_blocks, tuned_plan
from regraft.strategies.strategy import Situation, Strategy


class LPFT(Strategy):
    """Start the head at the probe's solution, then fine-tune the last blocks with discriminative rates.

    A head that starts at random bends the trunk's features before it knows anything; one that starts solved
    leaves them alone. ``lpft`` trains the last 3 blocks that hold parameters, ``lpft:5`` the last 5,
    ``lpft:all`` every block; blocks that nothing carries over to are trained with them. What is in front of
    them all is frozen and computed once.

    Source: Kumar et al. (2022), "Fine-tuning can distort pretrained features and underperform
    out-of-distribution". Changed for small data: only the last blocks by default, rates that fall by 0.75 for
    each block towards the stem (Howard and Ruder 2018 use 1/2.6 between layer groups), batch-norm statistics
    of the source (those of 32 examples at a time gave a worse validation loss), 15 epochs.
    """

    name = "lpft"
    takes = "how many of the last blocks are tuned (3), or all"
    when = "20 labels a class or more, or a target unlike the source: a minute or so, safer than full"
    cite = (
        "Kumar et al.: Fine-tuning can distort pretrained features and underperform out-of-distribution. "
        "ICLR 2022"
    )

    def check_argument(self) -> None:
        """A number of blocks, or ``all``."""
        check_blocks(self.name, self.argument)

    def plan(self, situation: Situation) -> Plan:
        """A solve stage for the head and a train stage for the last blocks with it."""
        return tuned_plan(self.name, situation, argument=self.argument)
