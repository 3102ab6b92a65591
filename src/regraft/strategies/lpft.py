"""lpft: linear probing, then fine-tuning."""

from __future__ import annotations

from regraft.core.errors import PlanError
from regraft.plans import GroupSpec, OptimiserSpec, Plan, SolveStage, StopSpec, TrainStage
from regraft.strategies.strategy import Situation, Strategy, supervised_term, target_stream

LAST_BLOCKS = 3
RATE = 3e-4
HEAD_RATE = 1e-4
DECAY_PER_BLOCK = 0.75
"""Each block further from the head learns at this share of the rate of the one behind it."""


class LPFT(Strategy):
    """Start the head at the probe's solution, then fine-tune the last blocks with discriminative rates.

    A head that starts at random bends the trunk's features before it knows anything; one that starts solved
    leaves them alone. ``lpft`` trains the last 3 blocks that hold parameters, ``lpft:5`` the last 5,
    ``lpft:all`` every block; blocks that nothing carries over to are trained with them. What is in front of
    them all is frozen and computed once.

    Source: Kumar et al. (2022), "Fine-tuning can distort pretrained features and underperform
    out-of-distribution". Changed for small data: only the last blocks by default, rates that fall by 0.75 for
    each block towards the stem (Howard and Ruder 2018 use 1/2.6 between layer groups), batch-norm statistics
    of the source (those of 32 examples at a time gave a worse validation loss), early stopping.
    """

    name = "lpft"
    when = "20 labels a class or more, or a target unlike the source: a minute or so, safer than full"
    cite = (
        "Kumar et al.: Fine-tuning can distort pretrained features and underperform out-of-distribution. "
        "ICLR 2022"
    )

    def check_argument(self) -> None:
        """A number of blocks, or ``all``."""
        if self.argument and self.argument != "all" and not self.argument.isdigit():
            raise PlanError(f"lpft takes a number of blocks or 'all' behind its colon; got {self.argument!r}")

    def plan(self, situation: Situation) -> Plan:
        """A solve stage for the head and a train stage for the last blocks with it."""
        count = LAST_BLOCKS if not self.argument else len(situation.blocks)
        if self.argument.isdigit():
            count = int(self.argument)
        last = situation.blocks[-count:] if count else ()
        new = tuple(block for block in situation.fresh_blocks if count and block not in last)
        tuned = (*new, *last)  # stem to head: what is not among the last stands in front of them
        groups = (*((GroupSpec(match=new, rate=RATE),) if new else ()), *graded_groups(last, RATE))
        return Plan(
            strategy=self.name,
            seed=situation.seed,
            draw=situation.draw,
            models=situation.student(),
            streams=target_stream(views=int(self._cut(situation, tuned) is None)),
            stages=(
                SolveStage(name="head", solver="ridge"),
                TrainStage(
                    name="tune",
                    terms=supervised_term(),
                    trainable=(*tuned, "head"),
                    norm_statistics="frozen",
                    frozen_prefix=self._cut(situation, tuned),
                    groups=(GroupSpec(match=("head",), rate=HEAD_RATE), *groups),
                    optimiser=OptimiserSpec(name="adamw", clip=1.0),
                    stop=StopSpec(epochs=20, patience=5),
                ),
            ),
        )

    @staticmethod
    def _cut(situation: Situation, tuned: tuple[str, ...]) -> str | None:
        """The last block in front of the first one that is tuned."""
        if not tuned:
            return situation.all_blocks[-1]
        first = situation.all_blocks.index(tuned[0])
        return situation.all_blocks[first - 1] if first else None


def graded_groups(blocks: tuple[str, ...], rate: float) -> tuple[GroupSpec, ...]:
    """One group a block; the last block gets ``rate``, each one in front of it 0.75 times its follower's."""
    count = len(blocks)
    return tuple(
        GroupSpec(
            match=(block,), rate=float(f"{rate * DECAY_PER_BLOCK ** (count - 1 - i):.3g}"), weight_decay=0.01
        )
        for i, block in enumerate(blocks)
    )
